package persister

// The rules of content, for the test's own store.
var (
	Check   = check
	Verdict = verdict
)
