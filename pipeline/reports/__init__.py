"""The kit of report pages: page, sections, cases, charts, gallery, figures."""
