"""Boxes as Pascal VOC and labelImg write them: an XML for each photograph."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from longtail.data.annotations import Entries
from longtail.data.labelfiles import Folders, categories_of, number, shown
from longtail.data.layout import SPLIT_NAMES, files_by_split
from longtail.errors import LongtailError
from longtail.names import brief, nfc
from longtail.textfiles import read_text

__all__ = ["find_voc", "looks_like_voc"]

_SIDES = ("xmin", "ymin", "xmax", "ymax")
_LABELS = ("annotations", "annotation", "xml", "xmls", "labels")
_IMAGES = ("jpegimages", "images", "image", "imgs", "img", "photos")


def find_voc(place: Path) -> dict[str, Callable[[], Entries]]:
    """The folder of a Pascal VOC download, or XMLs beside their photographs, in folders of splits or in one.

    Splits are those of ``ImageSets/Main``, else those that folders are called as; else nothing is split. Boxes count
    pixels from 1 and hold their last one, as the development kit has it: ``xmin`` 1 to ``xmax`` W is the whole width.
    Where a box begins at 0, or most have fractions, all are taken as coordinates. ``difficult`` objects are neither
    trained on nor counted against a detector, as a crowd of COCO.

    Args:
        place: The folder.

    Raises:
        LongtailError: XMLs that are missing or damaged, or whose photographs cannot be told.
    """
    folders = Folders(place, ".xml")
    labels = [file for file in folders.labels if "segmentation" not in os.path.dirname(file).lower()]
    read = {file: found for file in labels if (found := _annotation(file)) is not None}
    if not read:
        raise LongtailError(f"{place} has no XML of Pascal VOC, with an annotation of objects: give voc:DIR")
    splits = _image_sets(place, list(read)) or files_by_split(place, list(read))
    objects = {
        file: [_Object(found, place, file, k) for k, found in enumerate(tree.findall("object"), 1)]
        for file, tree in read.items()
    }
    categories, numbers = categories_of(o.name for own in objects.values() for o in own if o.name)
    if not categories:
        raise LongtailError(f"{place} has no object in any of its {len(read)} XMLs")
    boxes = [o.sides for own in objects.values() for o in own if o.sides]
    fractions = sum(any(v % 1 for v in box) for box in boxes)
    first = 0 if any(min(box[:2]) < 1 for box in boxes) or 2 * fractions > len(boxes) else 1
    notes = folders.passed.notes("image")
    if not first:
        notes.append(
            f"boxes of {place.name} begin at 0 or have fractions: they are read as coordinates, not as pixels from 1"
        )
    entries = {
        s: _entries(place, s, files, read, objects, (categories, numbers, first), folders)
        for s, files in splits.items()
    }
    used = {image["file_name"] for own in entries.values() for image in own.content["images"]}
    if without := folders.without(used):
        listed = "are in no list or have no XML" if (place / "ImageSets").is_dir() else "have no XML"
        notes.append(
            f"{len(without)} photographs {listed} and are left out: {brief([shown(f, place) for f in without], 3)}"
        )
    entries["train"].notes.extend(notes)
    return {split: (lambda own=own: own) for split, own in entries.items()}


def looks_like_voc(place: Path) -> bool:
    """Whether a folder has XMLs of Pascal VOC."""
    try:
        files = Folders(place, ".xml").labels
        return bool(files) and _annotation(files[0]) is not None
    except LongtailError:
        return False


class _Tree(ET.TreeBuilder):
    """Refuses document types: they alone can name entities, which grow without bounds or name other files."""

    def doctype(self, *_: Any) -> NoReturn:
        raise ValueError("it declares a document type, which annotations do not need")


def _annotation(file: str) -> ET.Element | None:
    """The annotation in an XML; None: it holds something else."""
    try:
        content = Path(file).read_bytes()
        root = ET.fromstring(content, parser=ET.XMLParser(target=_Tree()))
    except OSError as error:
        raise LongtailError(f"{file} cannot be read: {error.strerror}") from None
    except ET.ParseError as error:
        raise LongtailError(f"{file} is no XML ({str(error)[:100]}): it may be cut off") from None
    except (ValueError, LookupError) as error:
        raise LongtailError(f"{file} cannot be read: {str(error)[:100]}") from None
    return root if root.tag == "annotation" else None


class _Object:
    """An object of an annotation; what is wrong with it is in ``fault``."""

    def __init__(self, found: ET.Element, place: Path, file: str, row: int) -> None:
        self.where = f"{shown(file, place)} object {row}"
        self.name, self.fault, self.sides = _text(found, "name"), "", list[float]()
        self.difficult = _text(found, "difficult") in ("1", "true", "True")
        box = found.find("bndbox")
        try:
            if not self.name:
                raise LongtailError("it has no name")
            if box is None:
                raise LongtailError(
                    "it has no bndbox" + (", a turned box is not read" if found.find("robndbox") is not None else "")
                )
            self.sides = [number(_text(box, side) or f"no {side}") for side in _SIDES]
        except LongtailError as error:
            self.fault = str(error)


def _text(element: ET.Element | None, name: str) -> str:
    found = None if element is None else element.find(name)
    return nfc((found.text or "").strip()) if found is not None else ""


def _image_sets(place: Path, files: Sequence[str]) -> dict[str, list[str]]:
    """The XMLs of the lists in ``ImageSets/Main``; empty: there are none."""
    place = _with_lists(place)
    folder = place / "ImageSets" / "Main"
    lists = {s: f for s in (*SPLIT_NAMES, "trainval") if (f := folder / f"{s}.txt").is_file()}
    if "train" not in lists and "trainval" in lists and "val" not in lists:
        lists["train"] = lists["trainval"]
    lists.pop("trainval", None)
    if not lists:
        return {}
    if "train" not in lists:
        raise LongtailError(f"{folder} has no train.txt")
    own = [file for file in files if Path(file).parent == place / "Annotations"] or files
    known = {nfc(os.path.splitext(os.path.basename(file))[0]): file for file in own}
    found: dict[str, list[str]] = {}
    for split, file in lists.items():
        names = [nfc(line.strip()) for line in read_text(file).splitlines() if line.strip()]
        ids = [name if name in known else name.split()[0] for name in names]
        lost = [name for name in ids if name not in known]
        if len(lost) == len(ids) and split == "test":
            continue  # the official ones keep their answers
        if lost or not ids:
            told = f"{len(lost)} of its names have no XML, the first is {lost[0][:80]}" if lost else "it names nothing"
            raise LongtailError(f"{file}: {told}")
        found[split] = [known[name] for name in dict.fromkeys(ids)]
    return found


def _with_lists(place: Path) -> Path:
    """The folder with ``ImageSets``: the place itself, or the only one below ``VOCdevkit``.

    Raises:
        LongtailError: there are several.
    """
    below = [place, *(other.parent for deep in ("*", "*/*") for other in sorted(place.glob(f"{deep}/ImageSets")))]
    found = [other for other in below if (other / "ImageSets" / "Main").is_dir()]
    if len(found) > 1 and found[0] != place:
        raise LongtailError(f"{place} has {brief([shown(str(f), place) for f in found])}: give one as voc:{found[0]}")
    return found[0] if found else place


def _image_folders(folder: str, folders: Folders) -> Iterator[str]:
    """Where the photographs of the XMLs in a folder may be: there, or in the folder of images beside theirs."""
    yield folder
    parts = folder.split(os.sep)
    for k in range(len(parts) - 1, -1, -1):
        if parts[k].lower() in _LABELS:
            above, below = os.sep.join(parts[:k]), parts[k + 1 :]
            images = [name for name in sorted(_subfolders(above, folders)) if name.lower() in _IMAGES]
            for name in images:
                yield os.sep.join([above, name, *below])
                yield os.sep.join([above, name])
            yield os.sep.join([above, *below])
            return


def _subfolders(folder: str, folders: Folders) -> list[str]:
    return [name for parent, name in map(os.path.split, folders.photographs) if parent == folder]


def _entries(
    place: Path,
    split: str,
    files: Sequence[str],
    read: Mapping[str, ET.Element],
    objects: Mapping[str, Sequence[_Object]],
    rules: tuple[list[dict[str, Any]], Mapping[str, int], int],
    folders: Folders,
) -> Entries:
    categories, numbers, first = rules
    images, annotations, faults = [], [], []
    difficult = 0
    places: dict[str, list[str]] = {}
    for file in files:
        folder, told = os.path.dirname(file), _text(read[file], "filename")
        if folder not in places:
            places[folder] = list(_image_folders(folder, folders))
        size = read[file].find("size")
        sides = {side: _side(_text(size, side), file) for side in ("height", "width")}
        picture = folders.photograph(file, places[folder], told) or _told(told, places[folder])
        lost = os.path.join(folder, told or f"{Path(file).stem}.jpg")
        identity = shown(file, place)
        images.append({"id": identity, "file_name": os.path.abspath(picture or lost), **sides})
        for found in objects[file]:
            if found.fault:
                faults.append(f"{found.where}: {found.fault}")
                continue
            left, top, right, bottom = found.sides
            difficult += found.difficult
            box = [left - first, top - first, right - left + first, bottom - top + first]
            entry = {"id": found.where, "image_id": identity, "category_id": numbers[found.name], "bbox": box}
            annotations.append(entry | {"iscrowd": int(found.difficult)})
    notes = []
    if difficult:
        notes.append(
            f"{difficult} objects of {split} are difficult: they are not trained on, and count for no detector"
        )
    content = {"images": images, "annotations": annotations, "categories": categories}
    return Entries(place, content, place, split, faults=faults, notes=notes)


def _told(told: str, folders: Sequence[str]) -> str | None:
    """The photograph that an XML names, where none has the XML's own name."""
    name = told.replace("\\", "/")
    if not name or "\0" in name:
        return None
    return next((path for folder in folders if os.path.isfile(path := os.path.join(folder, name))), None)


def _side(text: str, file: str) -> int | None:
    """Height or width; None: not told."""
    try:
        value = number(text) if text else 0.0
    except LongtailError as error:
        raise LongtailError(f"{file}: its size is wrong, {error}") from None
    return int(value) if value.is_integer() else None
