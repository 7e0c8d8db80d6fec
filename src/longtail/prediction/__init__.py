"""What a finished run says of new files: their labels, or the objects in them, drawn and as COCO's results."""
