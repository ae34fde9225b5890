package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/rafaeldepontes/go-chat/internal/config"
)

// run is the whole program: a test can call it. It reads .env in the working folder for commands whose settings have
// variables, and writes warnings to stderr; the returned error is for [report] and [exitCode].
func run(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) error {
	std := stdio{in: stdin, out: stdout, err: stderr, getenv: getenv}
	if len(args) == 0 {
		if err := writeOverview(stderr); err != nil {
			return err
		}
		return usagef("which command? gochat help tells them")
	}
	name, args := args[0], args[1:]
	switch name {
	case "help", "-h", "-help", "--help":
		return help(std, args)
	case "-version", "--version":
		name = "version"
	}
	cmd, err := findCommand(name)
	if err != nil {
		return err
	}
	set := config.New(cmd.name)
	runCommand := cmd.setup(set)
	var dotenv map[string]string
	if len(set.EnvNames()) > 0 && !asksForHelp(args) {
		if dotenv, err = config.ReadDotEnv(".env"); err != nil {
			return err
		}
	}
	rest, err := set.Parse(args, getenv, dotenv)
	if errors.Is(err, config.ErrHelp) {
		return writeCommandHelp(stdout, cmd, set)
	}
	if err != nil {
		return err
	}
	if len(set.EnvNames()) > 0 {
		for _, text := range append(config.Unknown(os.Environ(), getenv, dotenv, knownVariables()), set.OldNameWarnings()...) {
			fmt.Fprintf(stderr, "gochat: warning: %s\n", text)
		}
	}
	return runCommand(ctx, std, rest)
}

func findCommand(name string) (command, error) {
	var names []string
	for _, c := range commands() {
		if c.name == name {
			return c, nil
		}
		if !c.hidden {
			names = append(names, c.name)
		}
	}
	if near := config.Nearest(name, append(names, "help")); near != "" {
		return command{}, usagef("no command %q; did you mean %s?", name, near)
	}
	return command{}, usagef("no command %q; gochat help tells them", name)
}

func asksForHelp(args []string) bool {
	for _, a := range args {
		switch a {
		case "--":
			return false
		case "-h", "-help", "--help":
			return true
		}
	}
	return false
}

// untilSignal returns a context that the first SIGINT or SIGTERM cancels. After it the signals have their ordinary
// effect again, so that a second one ends the process at once.
func untilSignal(parent context.Context) (ctx context.Context, stop func()) {
	ctx, stop = signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// oneLine keeps an error on its line: some libraries' errors span several.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), " ")
}
