//go:build !unix || !mutants

package main

// mutantsCommand exists in a build with the tag mutants only.
func mutantsCommand() []command { return nil }
