"""Results for hospitals: DICOM and FHIR documents, and what fetches studies and stores results."""
