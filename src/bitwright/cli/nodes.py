"""`nodes`: what becomes of everything that a network does."""

from typing import Annotated

from bitwright.cli import given, outputs
from bitwright.cli.app import app
from bitwright.cli.show import deliver
from bitwright.cli.working import working

Out = Annotated[list[str] | None, outputs.option("nodes or places")]


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
    out: Out = None,
    overwrite: given.Overwrite = False,
    json: given.Json = False,
    wide: given.Wide = False,
) -> None:
    """Say of every node whether it is mapped to a site, on the vector unit, free, or refused and why."""
    with working() as progress:
        progress("loading", 0, 0)
        from bitwright import api
        from bitwright.networks.nodes import NodeReport
        from bitwright.reports.nodes import nodes_record, print_nodes
        from bitwright.studies.provenance import provenance

        files = outputs.targets(out, NodeReport, overwrite=overwrite)
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
    deliver(
        "nodes",
        found,
        lambda: nodes_record(found, made),
        lambda console: print_nodes(found, console, wide=wide),
        files=files,
        json=json,
        wide=wide,
    )
