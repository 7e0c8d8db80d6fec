"""What ``longtail inspect`` tells of a data set before anything is trained: counts, findings, and a picture."""
