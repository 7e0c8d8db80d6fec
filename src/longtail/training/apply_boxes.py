"""Use a finished run with boxes: find and draw objects."""

from longtail.tasks.find_objects import find_objects, write_objects

__all__ = ["find_objects", "write_objects"]
