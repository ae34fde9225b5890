package main

import (
	"bytes"
	"fmt"
	"io"

	"github.com/rafaeldepontes/go-chat/internal/config"
)

func help(std stdio, args []string) error {
	switch len(args) {
	case 0:
		return writeOverview(std.out)
	case 1:
		if args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
			return writeOverview(std.out)
		}
		cmd, err := findCommand(args[0])
		if err != nil {
			return err
		}
		set := config.New(cmd.name)
		cmd.setup(set)
		return writeCommandHelp(std.out, cmd, set)
	default:
		return usagef("help takes one command, not %d words", len(args))
	}
}

func writeOverview(w io.Writer) error {
	var b bytes.Buffer
	b.WriteString("gochat: a chat room that never loses, duplicates or reorders a message that it accepted.\n\n" +
		"Usage: gochat COMMAND [words] [flags]\n\n")
	for _, c := range commands() {
		if c.hidden {
			continue
		}
		fmt.Fprintf(&b, "  %-10s %s\n", c.name, c.summary)
	}
	b.WriteString("  help       tells about a command: gochat help COMMAND\n\n" +
		"Try it: gochat up, and in another terminal: gochat join\n")
	_, err := w.Write(b.Bytes())
	return err
}

func writeCommandHelp(w io.Writer, cmd command, set *config.Set) error {
	usage := cmd.name
	if cmd.args != "" {
		usage += " " + cmd.args
	}
	if _, err := fmt.Fprintf(w, "gochat %s: %s\n\nUsage: gochat %s [flags]\n\n", cmd.name, cmd.summary, usage); err != nil {
		return err
	}
	return set.WriteHelp(w)
}
