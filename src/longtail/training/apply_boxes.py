"""Use a finished run with boxes: find and draw objects."""

from longtail.prediction.objects import find_objects, write_objects

__all__ = ["find_objects", "write_objects"]
