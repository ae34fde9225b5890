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
	q := u.Query()
	masked := false
	for _, key := range []string{"password", "sslpassword", "token"} {
		if q.Has(key) {
			q.Set(key, "xxxxx")
			masked = true
		}
	}
	if masked {
		u.RawQuery = q.Encode()
	}
	return u.Redacted()
}
