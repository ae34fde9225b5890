// Package config declares and reads the settings of one command.
//
// It promises: a flag beats the environment, the environment beats the .env file, the .env file beats the default; all
// mistakes are reported at once, each with the setting's name and where its value came from; no text that the package
// makes holds a secret or the content of a URL. The declaration is the one source of the help text, of .env.example and
// of the table in docs/configuration.md.
//
// An empty variable counts as one that is not set; an empty flag counts as set. The package starts no goroutine, keeps
// no global state and never writes to the process environment. A [Set] belongs to one goroutine.
package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Source tells where a value came from.
type Source string

// The sources, strongest first.
const (
	Flag        Source = "flag"
	Environment Source = "environment"
	DotEnv      Source = ".env"
	Default     Source = "default"
)

// Set holds the settings of one command. Declare them with [Set.String] and its siblings, then call [Set.Parse] once;
// the pointers are valid after it returned without an error.
type Set struct {
	command  string
	settings []*setting
	byName   map[string]*setting
	rules    []rule

	// Given to Parse.
	getenv func(string) string
	dotenv map[string]string
}

type setting struct {
	name    string
	kind    string // what the help text shows in the place of the value; empty for a switch
	def     string
	help    string
	env     []string // most specific first; empty for an argument of one call
	secret  bool
	checks  []func(string) error
	isBool  bool
	assign  func(string) error // parses and stores
	common  string             // the variable that all commands share, where env[0] is the command's own
	source  Source
	origin  string // the flag or variable that the value came from
	invalid bool   // its value was refused
}

type rule struct {
	setting *setting
	others  []*setting
	check   func() error
}

func (r rule) applies() bool {
	for _, other := range r.others {
		if other.invalid {
			return false
		}
	}
	return !r.setting.invalid
}

// New makes an empty set for a command. The command's name is part of the variables declared with [PerCommand].
func New(command string) *Set {
	return &Set{command: command, byName: make(map[string]*setting)}
}

// String declares a text setting. name is the flag without dashes; its variable is GOCHAT_ and the name in capitals
// unless an option says otherwise. Declaring a name twice panics.
func (s *Set) String(name, def, help string, opts ...Option) *string {
	v := def
	s.declare(&setting{name: name, kind: "TEXT", def: def, help: help, assign: func(text string) error {
		v = text
		return nil
	}}, opts)
	return &v
}

// Bool declares a switch: --name or --name=false, and in a variable one of true, false, 1, 0, yes, no, on, off.
func (s *Set) Bool(name string, def bool, help string, opts ...Option) *bool {
	v := def
	s.declare(&setting{name: name, isBool: true, def: strconv.FormatBool(def), help: help, assign: func(text string) error {
		b, err := parseBool(text)
		if err == nil {
			v = b
		}
		return err
	}}, opts)
	return &v
}

// Int declares a whole number.
func (s *Set) Int(name string, def int, help string, opts ...Option) *int {
	v := def
	s.declare(&setting{name: name, kind: "N", def: strconv.Itoa(def), help: help, assign: func(text string) error {
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		v = n
		return nil
	}}, opts)
	return &v
}

// Int64 declares a whole number of 64 bits, such as a seq.
func (s *Set) Int64(name string, def int64, help string, opts ...Option) *int64 {
	v := def
	s.declare(&setting{name: name, kind: "N", def: strconv.FormatInt(def, 10), help: help, assign: func(text string) error {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		v = n
		return nil
	}}, opts)
	return &v
}

// Float declares a finite number.
func (s *Set) Float(name string, def float64, help string, opts ...Option) *float64 {
	v := def
	text := strconv.FormatFloat(def, 'g', -1, 64)
	s.declare(&setting{name: name, kind: "N", def: text, help: help, assign: func(text string) error {
		n, err := parseFloat(text)
		if err == nil {
			v = n
		}
		return err
	}}, opts)
	return &v
}

// Duration declares a length of time, written as 25s, 1m30s or 500ms.
func (s *Set) Duration(name string, def time.Duration, help string, opts ...Option) *time.Duration {
	v := def
	s.declare(&setting{name: name, kind: "TIME", def: formatDuration(def), help: help, assign: func(text string) error {
		d, err := parseDuration(text)
		if err == nil {
			v = d
		}
		return err
	}}, opts)
	return &v
}

// Size declares a number of bytes, written plainly or with KiB, MiB or GiB.
func (s *Set) Size(name string, def int64, help string, opts ...Option) *int64 {
	v := def
	s.declare(&setting{name: name, kind: "SIZE", def: formatSize(def), help: help, assign: func(text string) error {
		n, err := parseSize(text)
		if err == nil {
			v = n
		}
		return err
	}}, opts)
	return &v
}

// Rule adds a check over several settings. It runs after every setting was read, unless the value of name or of one of
// the others is wrong already; its error is reported under name. All must be declared.
func (s *Set) Rule(name string, others []string, check func() error) {
	r := rule{setting: s.must(name), check: check}
	for _, other := range others {
		r.others = append(r.others, s.must(other))
	}
	s.rules = append(s.rules, r)
}

// Together demands that the settings a and b, both texts, are given both or not at all.
func (s *Set) Together(a, b string, valueA, valueB *string) {
	needs := func(one, other string, value, otherValue *string) {
		s.Rule(one, []string{other}, func() error {
			if *value != "" && *otherValue == "" {
				return fmt.Errorf("needs --%s beside it", other)
			}
			return nil
		})
	}
	needs(a, b, valueA, valueB)
	needs(b, a, valueB, valueA)
}

// Source tells where the value of a setting came from. It is [Default] before [Set.Parse].
func (s *Set) Source(name string) Source { return s.must(name).source }

// Origin names the setting as its user knows it, for an error found later: the variable that the value came from, or
// else the flag, such as "DATABASE_URL" or "--listen". A default is named by its flag.
func (s *Set) Origin(name string) string {
	if o := s.must(name).origin; o != "" {
		return o
	}
	return "--" + name
}

func (s *Set) must(name string) *setting {
	st, ok := s.byName[name]
	if !ok {
		panic("config: no setting " + name)
	}
	return st
}

func (s *Set) declare(st *setting, opts []Option) {
	if _, twice := s.byName[st.name]; twice {
		panic("config: setting declared twice: " + st.name)
	}
	st.source = Default
	st.env = []string{twin("", st.name)}
	for _, o := range opts {
		o(s, st)
	}
	s.settings = append(s.settings, st)
	s.byName[st.name] = st
}

// twin is the variable of a flag: GOCHAT_SEND_RATE for send-rate, GOCHAT_CHATROOM_LISTEN for chatroom's own listen.
func twin(command, name string) string {
	if command != "" {
		name = command + "-" + name
	}
	return prefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

const prefix = "GOCHAT_"
