"""De-identification of DICOM images: attributes, burned-in text, folders.

What is done follows the basic application level confidentiality profile of DICOM PS3.15 Annex E. docs/privacy.md says
what it covers, what was measured and what it does not cover.
"""
