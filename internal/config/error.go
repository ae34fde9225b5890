package config

import (
	"errors"
	"net/url"
	"strings"
)

// ErrHelp is returned by [Set.Parse] when -h, -help or --help stands among the arguments.
var ErrHelp = errors.New("help was asked for")

var errBadSecret = errors.New("has a bad value")

// Problem is one mistake in the settings.
type Problem struct {
	Setting string // --listen, or the variable's name
	Source  Source // empty where no value was given
	Text    string
}

// String is the problem as one line without a line end.
func (p Problem) String() string {
	if p.Source == "" {
		return p.Setting + ": " + p.Text
	}
	return p.Setting + " (" + string(p.Source) + "): " + p.Text
}

// Error holds all mistakes of one command line. The program ends with exit code 2.
type Error struct {
	Command  string
	Problems []Problem
}

// Error joins the problems with semicolons; a user is shown one line for each.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "; ")
}

// Mask returns a URL with its password, and the password in its query, replaced by xxxxx. A text that is no URL is
// hidden altogether where it may hold a password.
func Mask(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		if strings.ContainsAny(text, "@=") {
			return "xxxxx"
		}
		return text
	}
	if u.Scheme == "" && strings.Contains(strings.ToLower(text), "password") {
		return "xxxxx"
	}
	if q := u.Query(); q.Has("password") || q.Has("sslpassword") {
		for _, key := range []string{"password", "sslpassword"} {
			if q.Has(key) {
				q.Set(key, "xxxxx")
			}
		}
		u.RawQuery = q.Encode()
	}
	return u.Redacted()
}

// Host returns the host and port that a URL names, for an error text, or "" where there is none.
func Host(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Host
}
