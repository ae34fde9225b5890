// Command gochat is the chat room, the persister, their tools and the client for the terminal, in one program.
//
// Exit codes: 0 done, 1 failed, 2 wrong usage. Errors go to standard error, one line each, as "gochat: what". The first
// SIGINT or SIGTERM asks for an orderly stop, the second ends the process at once.
package main

import (
	"context"
	"os"
)

func main() {
	ctx, stop := untilSignal(context.Background())
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr)
	stop()
	report(os.Stderr, err)
	os.Exit(exitCode(err))
}
