"""What a run did, as one HTML page that needs nothing else: numbers, curves, pictures, config."""

from glipv2.report.curves import line_chart
from glipv2.report.gallery import contact_sheet, side_by_side
from glipv2.report.page import write_report
from glipv2.report.run import RunFolder

__all__ = ["RunFolder", "contact_sheet", "line_chart", "side_by_side", "write_report"]
