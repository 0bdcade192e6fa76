"""heme-edge: bone-marrow cells found, cropped and named beside the microscope.

Research use only. Not for use in diagnostic procedures.
"""

__version__ = "0.1.0"

RESEARCH_USE_ONLY = "Research use only. Not for use in diagnostic procedures."
