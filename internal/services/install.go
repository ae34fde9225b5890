//go:build unix

package services

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// packages are the names of Debian and of its descendants.
var packages = map[Kind]string{PostgreSQL: "postgresql", RabbitMQ: "rabbitmq-server"}

// missing is the one line for somebody whose machine lacks a server.
func missing(kind Kind) error {
	return fmt.Errorf("%s is not installed: install it (Debian: apt-get install %s; macOS: brew install %s)",
		kind, packages[kind], map[Kind]string{PostgreSQL: "postgresql@18", RabbitMQ: "rabbitmq"}[kind])
}

// policy is Debian's switch against services that start by being installed: 101 forbids it.
const policy = "/usr/sbin/policy-rc.d"

// Install installs those of the kinds that are missing from the distribution, on Debian and its descendants and as root,
// and says so on out. Elsewhere it returns one line that says what to install. The packages' own servers are not started,
// so that the standard ports stay free.
func Install(ctx context.Context, out io.Writer, kinds ...Kind) error {
	var names []string
	var lacking []error
	for _, kind := range kinds {
		if !Installed(kind) {
			names = append(names, packages[kind])
			lacking = append(lacking, missing(kind))
		}
	}
	if len(names) == 0 {
		return nil
	}
	if !Debian() || os.Geteuid() != 0 {
		return errors.Join(lacking...)
	}
	fmt.Fprintf(out, "installing %s from the distribution\n", strings.Join(names, " and "))
	undo, err := forbidStarting()
	if err != nil {
		return fmt.Errorf("keep packages from starting their servers: %w", err)
	}
	defer undo()
	// One broken source fails an update, and the packages may be known all the same: the install decides.
	outdated := apt(ctx, "update")
	if err := apt(ctx, append([]string{"install", "-y", "--no-install-recommends"}, names...)...); err != nil {
		return errors.Join(outdated, err)
	}
	return nil
}

// Debian tells whether this is Debian or a descendant, with its package tools.
func Debian() bool {
	_, err := os.Stat("/etc/debian_version")
	if err != nil {
		return false
	}
	_, err = exec.LookPath("apt-get")
	return err == nil
}

func apt(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"-q", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"}, args...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	cmd.WaitDelay = 10 * time.Second
	text, err := cmd.CombinedOutput()
	if err != nil {
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		return fmt.Errorf("apt-get %s: %w\n%s", args[0], err, strings.Join(lines[max(0, len(lines)-15):], "\n"))
	}
	return nil
}

// forbidStarting puts the switch in place unless there is one already, and returns what removes it.
func forbidStarting() (undo func(), err error) {
	f, err := os.OpenFile(policy, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if errors.Is(err, os.ErrExist) {
		return func() {}, nil
	}
	if err != nil {
		return nil, err
	}
	_, err = f.WriteString("#!/bin/sh\nexit 101\n")
	// The mode again: a strict umask would leave a script that nobody runs.
	if err := errors.Join(err, f.Chmod(0o755), f.Close()); err != nil {
		return nil, errors.Join(err, os.Remove(policy))
	}
	return func() { _ = os.Remove(policy) }, nil
}
