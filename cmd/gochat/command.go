package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/rafaeldepontes/go-chat/internal/config"
)

// stdio is all that a command knows of the world around it.
type stdio struct {
	in       io.Reader
	out, err io.Writer
	getenv   func(string) string
}

// runFunc runs a command with its positional words. It returns nil when ctx ends it in an orderly way.
type runFunc = func(ctx context.Context, io stdio, args []string) error

// command is a subcommand of gochat.
type command struct {
	name    string
	args    string // its positional words, for the usage line
	summary string // one line, lower case
	hidden  bool   // not in the overview: only another command starts it
	// setup declares the settings and returns what runs once they are read. It must not do anything else: help and the
	// generated documents call it too.
	setup func(s *config.Set) runFunc
}

// usageError is wrong usage that is not a setting's: the exit code is 2.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

// usagef makes an error for wrong usage, such as a missing word. The program ends with exit code 2.
func usagef(format string, a ...any) error {
	return &usageError{fmt.Sprintf(format, a...)}
}

// exitCode is the one translation from errors to the process's exit code.
func exitCode(err error) int {
	var usage *usageError
	var settings *config.Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage), errors.As(err, &settings):
		return 2
	default:
		return 1
	}
}

// report writes an error for a person: one line, or one for each mistake in the settings.
func report(w io.Writer, err error) {
	var settings *config.Error
	switch {
	case err == nil:
	case errors.As(err, &settings):
		for _, p := range settings.Problems {
			fmt.Fprintf(w, "gochat: %s\n", oneLine(p.String()))
		}
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(w, "gochat: interrupted")
	default:
		fmt.Fprintf(w, "gochat: %s\n", oneLine(err.Error()))
	}
}
