"""``speedpay create``: make a torrent of files."""

from __future__ import annotations

from pathlib import Path

import click

from speedpay.cli.output import Output, clean, examples, pass_output, size_text
from speedpay.errors import AlreadyExists, DiskFull, InvalidSetting
from speedpay.swarm.create import CreatedTorrent, create_torrent


@click.command(epilog=examples("speedpay create photos/", "speedpay create a.iso -o a.torrent"))
@click.argument("paths", nargs=-1, required=True, metavar="PATH…", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--tracker", "trackers", multiple=True, metavar="URL", help="May be repeated.")
@click.option("--private", is_flag=True, help="Peers only from its trackers (BEP 27).")
@click.option("--comment", default="", metavar="TEXT")
@pass_output
def create(
    out: Output,
    paths: tuple[Path, ...],
    output: Path | None,
    trackers: tuple[str, ...],
    private: bool,
    comment: str,
) -> None:
    """Make a torrent of PATHs: one file, one folder, or several of one folder."""
    made = make(out, paths, private=private, trackers=trackers, comment=comment)
    target = output or Path(f"{made.description.name}.torrent")
    write(made, target)
    link = magnet(made)
    out.result(
        {
            "torrent": str(target), "magnet": link, "infohash": made.description.infohash.hex(),
            "bytes": made.description.total_bytes,
        },
        f"{target}: {size_text(made.description.total_bytes)}\n{link}",
    )  # fmt: skip


def make(
    out: Output,
    paths: tuple[Path, ...],
    *,
    private: bool = False,
    trackers: tuple[str, ...] = (),
    comment: str = "",
) -> CreatedTorrent:
    """Hash the files, showing how far it is."""
    with out.progress(f"hashing {clean(paths[0].name)}") as bar:
        return create_torrent(
            paths, private=private, trackers=trackers, comment=comment,
            progress=lambda done, total: bar.update(done, total_bytes=total),
        )  # fmt: skip


def write(made: CreatedTorrent, target: Path) -> None:
    """Never over another file: a second run would silently change what a link points to."""
    try:
        file = target.open("xb")
    except FileExistsError as error:
        raise AlreadyExists(f"{target} exists", hint="choose another name with -o") from error
    except OSError as error:
        raise InvalidSetting(
            f"{target} cannot be written: {error.strerror}", field="output"
        ) from error
    try:
        with file:
            file.write(made.data)
    except OSError as error:
        target.unlink()  # half a torrent is none
        raise DiskFull(f"{target} cannot be written: {error.strerror}") from error


def magnet(made: CreatedTorrent) -> str:
    return f"magnet:?xt=urn:btih:{made.description.infohash.hex()}"
