package config

import "strings"

// Parse reads args, the environment and the .env file's values, and returns the positional words. Flags and words may
// mix; -- ends the flags; - is a word. A flag is written --name value or --name=value, with one dash or two; the last
// one of a name counts. Any mistake makes it a *[Error] that holds them all, or [ErrHelp].
func (s *Set) Parse(args []string, getenv func(string) string, dotenv map[string]string) (rest []string, err error) {
	s.getenv, s.dotenv = getenv, dotenv
	rest, flags, problems := s.split(args)
	if flags == nil {
		return nil, ErrHelp
	}
	for _, st := range s.settings {
		if st.invalid {
			continue // reported by split
		}
		text, ok := s.find(st, flags)
		if !ok {
			continue
		}
		if err := st.take(text); err != nil {
			st.invalid = true
			problems = append(problems, Problem{st.origin, st.source, err.Error()})
		}
	}
	for _, r := range s.rules {
		if !r.applies() {
			continue
		}
		if err := r.check(); err != nil {
			p := Problem{Setting: s.Origin(r.setting.name), Text: err.Error()}
			if r.setting.source != Default {
				p.Source = r.setting.source
			}
			problems = append(problems, p)
		}
	}
	if len(problems) > 0 {
		return nil, &Error{Command: s.command, Problems: problems}
	}
	return rest, nil
}

// split sorts args into words and flags. It returns nil flags when help was asked for.
func (s *Set) split(args []string) (words []string, flags map[string]string, problems []Problem) {
	flags = make(map[string]string)
	words = []string{}
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return append(words, args[i+1:]...), flags, problems
		}
		if len(arg) < 2 || arg[0] != '-' {
			words = append(words, arg)
			continue
		}
		name, value, hasValue := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
		if name == "h" || name == "help" {
			return nil, nil, nil
		}
		st, known := s.byName[name]
		switch {
		case !known:
			p := Problem{"--" + name, Flag, "no such flag"}
			if near := Nearest(name, s.names()); near != "" {
				p.Text += "; did you mean --" + near + "?"
			}
			problems = append(problems, p)
		case hasValue:
			flags[name] = value
		case st.isBool:
			flags[name] = "true"
		case i+1 == len(args) || s.isFlag(args[i+1]):
			st.invalid = true
			problems = append(problems, Problem{"--" + name, Flag, "needs a value: --" + name + " " + st.kind})
		default:
			i++
			flags[name] = args[i]
		}
	}
	return words, flags, problems
}

// isFlag tells whether an argument is a flag rather than the value of the one before it. A value that begins with a
// dash is taken as one unless it is the end of the flags or a flag's name; --name=value gives any text.
func (s *Set) isFlag(arg string) bool {
	if strings.HasPrefix(arg, "--") {
		return true
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(arg, "-"), "=")
	_, known := s.byName[name]
	return known && arg[0] == '-'
}

// find looks a setting up in the order of precedence, and notes where it was found.
func (s *Set) find(st *setting, flags map[string]string) (string, bool) {
	if text, ok := flags[st.name]; ok {
		st.source, st.origin = Flag, "--"+st.name
		return text, true
	}
	for _, name := range st.env {
		if text := s.getenv(name); text != "" {
			st.source, st.origin = Environment, name
			return text, true
		}
	}
	for _, name := range st.env {
		if text := s.dotenv[name]; text != "" {
			st.source, st.origin = DotEnv, name
			return text, true
		}
	}
	if len(st.env) > 0 && st.env[0] != twin("", st.name) && st.common == "" {
		st.origin = st.env[0] // DATABASE_URL is better known than --database-url
	}
	return "", false
}

func (st *setting) take(text string) error {
	if err := st.assign(text); err != nil {
		if st.secret {
			return errBadSecret
		}
		return err
	}
	for _, check := range st.checks {
		if err := check(text); err != nil {
			return err
		}
	}
	return nil
}

func (s *Set) names() []string {
	names := make([]string, len(s.settings))
	for i, st := range s.settings {
		names[i] = st.name
	}
	return names
}
