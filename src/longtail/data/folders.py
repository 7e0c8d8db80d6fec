"""A folder for each class, with or without splits above it; what is nearly such a layout is known or refused."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from longtail.data.base import Split
from longtail.data.filelists import clips_below, images_below, one_row_a_file
from longtail.data.layout import SPLIT_NAMES, only_one, split_roles
from longtail.data.photos import is_image
from longtail.data.video import is_video
from longtail.data.walk import Passed, subfolders, walk
from longtail.errors import LongtailError
from longtail.names import brief, nfc

__all__ = ["read_folder"]


def read_folder(path: Path, *, frames: int = 0) -> tuple[dict[str, Split], list[str], list[str]]:
    """``train/val/test/CLASS/FILE``, or ``CLASS/FILE`` which is all training part. Hidden files are passed over.

    Args:
        path: The folder.
        frames: 0: the files are images; otherwise clips, for which so many frames stand.

    Returns:
        Splits by name (``train`` always, ``val`` and ``test`` where given), class names in alphabetical order, notes.

    Raises:
        LongtailError: no such folder, no images, a class without a training image, a class unknown in training, splits
            whose classes cannot be told, an image with two labels or in two splits.
    """
    if not path.is_dir():
        hint = "unpack it first" if path.is_file() else "check the path"
        raise LongtailError(f"{path} is not a folder: {hint}")
    try:
        return _FolderReader(path, frames).read()
    except OSError as error:
        raise LongtailError(f"{error.filename or path} cannot be read: {error.strerror or error}") from None


class _FolderReader:
    def __init__(self, path: Path, frames: int) -> None:
        self.path, self.frames = path, frames
        self.find, self.is_file, self.item = (
            (clips_below, is_video, "clip") if frames else (images_below, is_image, "image")
        )
        self.passed, self.notes = Passed(), list[str]()

    def read(self) -> tuple[dict[str, Split], list[str], list[str]]:
        parts = self._parts()
        folders = {split: self._classes(folder) for split, folder in parts.items()}
        names = list(folders["train"])
        if not names:
            raise LongtailError(
                f"{parts['train']} has no class folders: put the {self.item}s of each class into a folder of its own"
            )
        files = {split: self._files(own) for split, own in folders.items()}
        if parts["train"] == self.path:
            self._refuse_splits_as_classes(folders["train"], files["train"])
        elif len(names) == 1 and (inside := self._class_folders(folders["train"][names[0]][0])):
            raise LongtailError(
                f"{parts['train']} has one folder only, {names[0]}, and the class folders ({brief(inside)}) lie in it: "
                "move them one level up"
            )
        splits = {split: self._split(split, parts, own, names) for split, own in files.items()}
        splits = one_row_a_file(splits, parts, "folder", self.notes)
        for folder in dict.fromkeys([self.path, *parts.values()]):
            if loose := len(self._loose(folder)):
                self.notes.append(f"{loose} {self.item}s lie in {folder} itself and so in no class: they are left out")
        self.notes += self.passed.notes(self.item)
        return splits, [os.fsencode(name).decode("utf-8", "replace") for name in names], self.notes

    def _parts(self) -> dict[str, Path]:
        """The folder of each split; PATH itself as ``train`` if it holds classes (one of which may be called train)."""
        folders, parts = subfolders(self.path, self.passed), dict[str, Path]()
        roles = split_roles(folders)
        for split in SPLIT_NAMES:
            there = [name for name, own in roles.items() if own == split and subfolders(folders[name], self.passed)]
            if (name := only_one(there, split=split, where=self.path)) is not None:
                parts[split] = folders[name]
        if not parts:
            return {"train": self.path}
        flat = {
            name: n for name in roles if folders[name] not in parts.values() and (n := len(self._loose(folders[name])))
        }
        other = [name for name in folders if folders[name] not in parts.values() and name not in flat]
        if "train" not in parts:
            raise LongtailError(
                f"{self.path} has {next(iter(parts.values())).name} but no train folder with a folder for each class"
            )
        for name, n in flat.items():
            self.notes.append(
                f"{folders[name]} has {n} {self.item}s and no class folders, so that their classes are unknown: it is "
                f"not used as the {roles[name]} split"
            )
        if len(parts) == 1 and (filled := [name for name in other if self.find(folders[name], Passed())]):
            train = parts["train"].name
            raise LongtailError(
                f"{self.path} has {train} with folders inside, and beside it {brief(filled)} with {self.item}s: if "
                f"{train} is the training part, give {parts['train']} or call the others val and test; if it is a "
                "class, put its files into it without folders"
            )
        if other:
            self.notes.append(f"ignored beside the splits: {brief(other)}")
        return parts

    def _classes(self, folder: Path) -> dict[str, list[Path]]:
        """The folders of each class, by its name in alphabetical order."""
        classes: dict[str, list[Path]] = {}
        for name, below in subfolders(folder, self.passed).items():
            classes.setdefault(nfc(name), []).append(below)
        other = [name for name, own in classes.items() if [below.name for below in own] != [name]]
        if other:
            self.notes.append(
                f"names in another form of Unicode below {folder} are read in the usual one: {brief(other)}"
            )
        return dict(sorted(classes.items()))

    def _files(self, classes: dict[str, list[Path]]) -> dict[str, list[str]]:
        return {
            name: [file for below in own for file in self.find(below, self.passed)] for name, own in classes.items()
        }

    def _split(self, split: str, parts: dict[str, Path], files: dict[str, list[str]], names: list[str]) -> Split:
        folder, item = parts[split], self.item
        if unknown := [name for name, own in files.items() if own and name not in names]:
            raise LongtailError(f"{folder} has classes that {parts['train']} lacks: {brief(unknown)}")
        if split == "train" and (empty := [name for name, own in files.items() if not own]):
            other = f" (not read as {item}s: {self.passed.kinds()})" if self.passed.other else ""
            filled = [name for name, own in files.items() if own]
            hint = ""
            if len(filled) == 1 and self._class_folders(folder / filled[0]):
                hint = f"; or give {folder / filled[0]}, if its folders are the classes"
            raise LongtailError(
                f"a class with no {item} in {folder}: {brief(empty)}{other}; add {item}s or remove the folder{hint}"
            )
        index = {name: c for c, name in enumerate(names)}
        paths = [file for own in files.values() for file in own]
        if not paths:
            raise LongtailError(f"{folder} has no {item}s in its class folders")
        labels = [index[name] for name, own in files.items() for _ in own]
        return Split(paths, torch.tensor(labels), self.frames)

    def _loose(self, folder: Path) -> list[str]:
        """The images, or videos, in a folder itself."""
        _, files = next(walk(folder, Passed()))
        return [name for name in files if self.is_file(name)]

    def _class_folders(self, folder: Path) -> list[str]:
        """The folders in a folder that hold images, if it holds two of them and no image itself."""
        below = subfolders(folder, Passed()) if not self._loose(folder) else {}
        inside = [name for name, own in below.items() if self.find(own, Passed())]
        return inside if len(inside) > 1 else []

    def _refuse_splits_as_classes(self, folders: dict[str, list[Path]], files: dict[str, list[str]]) -> None:
        """Raise where folders that were taken for classes look like splits, above or below the classes."""
        filled = [name for name, own in files.items() if own]
        roles = split_roles(folders)
        if filled and all(name in roles for name in filled):
            first = folders[filled[0]][0]
            raise LongtailError(
                f"{brief([str(folders[name][0]) for name in filled])}: {self.item}s without class folders, so that "
                f"their classes are unknown: make a folder for each class inside ({first}/CLASS/FILE), or name the "
                "labels in lists (lists:DIR)"
            )
        if named := [name for name in filled if name in roles]:
            self.notes.append(f"read as classes, since they have no class folders inside: {brief(named)}")
        inner = {name: list(subfolders(own[0], Passed())) for name, own in folders.items() if name in filled}
        if len(inner) < 2:
            return
        if all("train" in split_roles(own).values() and len(split_roles(own)) > 1 for own in inner.values()):
            name, own = next(iter(inner.items()))
            raise LongtailError(
                f"{self.path} has the splits inside each class ({name}/{own[0]}): put them above the classes "
                f"({own[0]}/{name}/FILE)"
            )
        if any(self._loose(folders[name][0]) for name in inner):
            return
        common = sorted(set.intersection(*({nfc(name) for name in own} for own in inner.values())))
        if self.frames or len(common) < 2:
            return
        if len(inner) <= 3 and len(common) > len(inner):
            raise LongtailError(
                f"{self.path}: {brief(list(inner))} hold the same folders ({brief(common)}), which look like the "
                f"classes: call the outer ones train, val and test, or give one of them"
            )
        self.notes.append(
            f"all of {brief(list(inner))} hold the same folders ({brief(common)}): the outer ones are the classes"
        )
