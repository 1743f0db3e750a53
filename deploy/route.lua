-- Sends each study on when nothing more of it came for StableAge seconds. The listener knows what it had already,
-- and its own results, which make the study stable once more: it passes over both.
function OnStableStudy(study, tags, metadata)
  RestApiPost('/modalities/unimedvl/store', DumpJson({Resources = {study}, Synchronous = false}))
end
