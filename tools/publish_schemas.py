"""A hook of mkdocs: the JSON Schema of what every verb prints, as `schemas/VERB.json` of the documentation."""

import json

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from bitwright.reports.verbs import VERBS, verb_schema


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add them to what is published."""
    for verb in VERBS:
        text = json.dumps(verb_schema(verb), indent=2, ensure_ascii=False)
        files.append(File.generated(config, f"schemas/{verb}.json", content=text))
    return files
