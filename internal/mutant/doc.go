// Package mutant names known bugs that can be put into the program, to see that the torture test finds them: a test that
// never failed proves nothing. An ordinary build has none of them: they are constants that are false, and the compiler
// leaves out what stands behind them. With the build tag mutants, GOCHAT_MUTANT switches one on; see `task mutants`.
//
// Most protections of this system stand behind each other: what the broker loses is published again, since a row stays in the
// outbox until it is stored. A bug in one of them costs time and no message. So the mutants of the way through the broker
// also take that last line away, where they say so.
package mutant

// Text is text where a mutant is on, for statements that are put together, and nothing otherwise.
func Text(on bool, text string) string {
	if on {
		return text
	}
	return ""
}
