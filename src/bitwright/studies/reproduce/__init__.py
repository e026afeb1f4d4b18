"""Reproduction: published figures beside what is measured here. One room per system; `systems` knows them by name."""
