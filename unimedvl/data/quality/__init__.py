"""Quality control in the three stages of the published set (arXiv 2510.15710).

coarse               stage 1: sizes of images and lengths of texts
alignment            stage 2: whether text and image belong together; the three interfaces, scores and the cut
embedded             small stand-ins for the three interfaces, without any download
transformers_models  MedGemma, E5 and MedSigLIP for them, through `transformers`
revisions            which version of a model is meant: a commit of the hub, or the hash of a folder
endpoint             any OpenAI-compatible server as captioner
audit                stage 3: the sample that experts rate, the seven dimensions, means and the verdict
ratings              what raters say, as CSV
agreement            Krippendorff's alpha
audit_report         stage 3 in Markdown
audit_folder         the sample and the raters' files
audit_form           the local server in which raters rate
audit_page           its pages
audit_assets         its style and script

Stages 1 and 2 give `Decision`s; what can't be judged at all raises DataError, for the caller to quarantine.
"""
