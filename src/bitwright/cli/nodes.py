"""`nodes`: what becomes of everything that a network does."""

from bitwright.cli import given
from bitwright.cli.app import app
from bitwright.cli.show import show
from bitwright.cli.working import working


@app.command()
def nodes(
    model: given.Model,
    *,
    preprocess: given.Preprocess = None,
    tokenizer: given.Tokenizer = None,
    batch: given.Batch = 1,
    sequence_length: given.SequenceLength = None,
    image_size: given.ImageSize = None,
    shape: given.Shape = None,
    phase: given.Phase = "prefill",
    device: given.Device = "auto",
    json: given.Json = False,
    wide: given.Wide = False,
) -> None:
    """Say of every node whether it is mapped to a site, on the vector unit, free, or refused and why."""
    with working() as progress:
        progress("loading", 0, 0)
        from bitwright import api
        from bitwright.reports.nodes import nodes_record, print_nodes
        from bitwright.studies.provenance import provenance

        network = api.load(
            model,
            **given.reading(preprocess, tokenizer),
            batch=batch,
            sequence_length=sequence_length,
            image_size=image_size,
            dims=given.dims(shape),
            phase=phase,
            device=device,
        )
        found = api.nodes(network)
    made = provenance(given.command_line(), 0)
    show(
        lambda: nodes_record(found, made), lambda console: print_nodes(found, console, wide=wide), json=json, wide=wide
    )
