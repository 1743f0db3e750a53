"""The model inside evaluation suites of others: VLMEvalKit (`vlmevalkit.py`) and lmms-eval (`lmms.py`).

Neither suite is needed to import what is here. `message.py` is what both put to the model, `batches.py` how calls from
several threads are answered together.
"""
