package config

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
)

// EnvNames returns the variables that the set reads, sorted.
func (s *Set) EnvNames() []string {
	var names []string
	for _, st := range s.settings {
		names = append(names, st.env...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// WriteHelp writes the flags with their defaults and variables, in the order of their declaration.
func (s *Set) WriteHelp(w io.Writer) error {
	var b bytes.Buffer
	for _, st := range s.settings {
		fmt.Fprintf(&b, "  --%s", st.name)
		if !st.isBool {
			b.WriteString(" " + st.kind)
		}
		b.WriteString("\n        " + st.help)
		if st.showsDefault() {
			fmt.Fprintf(&b, " (default %s)", st.def)
		}
		b.WriteString("\n")
		if len(st.env) > 0 {
			b.WriteString("        " + strings.Join(st.env, ", else ") + "\n")
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

func (st *setting) showsDefault() bool {
	// An argument's 0 or -1 stands for one that was not given, which its text tells.
	absent := st.env == nil && (st.def == "0" || st.def == "-1")
	return !st.secret && st.def != "" && !(st.isBool && st.def == "false") && !absent
}

// entry is one variable with all commands that read it.
type entry struct {
	name     string
	common   string
	flag     string
	def      string
	help     string
	commands []string
	isBool   bool
}

// entries merges the variables of several sets, in the order of their first declaration. A variable that differs for
// each command stands for itself.
func entries(sets []*Set) []entry {
	var out []entry
	index := make(map[string]int)
	for _, s := range sets {
		for _, st := range s.settings {
			if len(st.env) == 0 {
				continue
			}
			name := st.env[0]
			if i, seen := index[name]; seen {
				out[i].commands = append(out[i].commands, s.command)
				continue
			}
			index[name] = len(out)
			def := st.def
			if st.secret {
				def = ""
			}
			out = append(out, entry{name, st.common, st.name, def, st.help, []string{s.command}, st.isBool})
		}
	}
	return out
}

// Conflicts tells where two commands declare one variable with different defaults or meanings, one line each. A test
// keeps it empty, as .env.example could not tell the truth otherwise.
func Conflicts(sets []*Set) []string {
	type meaning struct{ command, def, help string }
	first := make(map[string]meaning)
	var lines []string
	for _, s := range sets {
		for _, st := range s.settings {
			if len(st.env) == 0 {
				continue
			}
			m, seen := first[st.env[0]]
			if !seen {
				first[st.env[0]] = meaning{s.command, st.def, st.help}
				continue
			}
			if m.def != st.def || m.help != st.help {
				lines = append(lines, fmt.Sprintf("%s: %s and %s differ in default or help", st.env[0], m.command, s.command))
			}
		}
	}
	return lines
}

// Example makes the text of .env.example: every variable once, with the commands that read it.
func Example(sets []*Set) []byte {
	var b bytes.Buffer
	b.WriteString(exampleHead)
	for _, e := range entries(sets) {
		fmt.Fprintf(&b, "\n# %s (%s)\n", sentence(e.help), strings.Join(e.commands, ", "))
		if e.common != "" {
			fmt.Fprintf(&b, "# Where it is not set, %s counts.\n", e.common)
		}
		if strings.HasPrefix(e.name, prefix) {
			b.WriteString("# ")
		}
		b.WriteString(e.name + "=" + quoteValue(e.def) + "\n")
	}
	return b.Bytes()
}

const exampleHead = `# Settings of go-chat. Copy this file to .env and change what differs.
# A flag beats the environment, the environment beats .env, .env beats the default.
# A line that begins with "# GOCHAT_" shows a default: take the # away to change it.
# This file is made by: go test ./cmd/gochat -run TestGenerated -update
`

// Table makes the Markdown table of every variable.
func Table(sets []*Set) []byte {
	var b bytes.Buffer
	b.WriteString("| variable | flag | commands | default | meaning |\n| --- | --- | --- | --- | --- |\n")
	for _, e := range entries(sets) {
		name, def := "`"+e.name+"`", ""
		if e.common != "" {
			name += ", else `" + e.common + "`"
		}
		if e.def != "" {
			def = "`" + e.def + "`"
		}
		fmt.Fprintf(&b, "| %s | `--%s` | %s | %s | %s |\n", name, e.flag, strings.Join(e.commands, ", "), def, cell(e.help))
	}
	return b.Bytes()
}

// OldNamesTable makes the Markdown table of the variables of earlier versions.
func OldNamesTable() []byte {
	var b bytes.Buffer
	b.WriteString("| earlier name | now | notes |\n| --- | --- | --- |\n")
	for _, o := range OldNames() {
		fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", o.Old, o.New, cell(o.Note))
	}
	for _, same := range []string{"DATABASE_URL", "RABBITMQ_URL"} {
		fmt.Fprintf(&b, "| `%s` | `%s` | unchanged |\n", same, same)
	}
	return b.Bytes()
}

// Splice replaces what stands between the lines "<!-- generated: name -->" and "<!-- end: name -->" of a document.
func Splice(document []byte, name string, content []byte) ([]byte, error) {
	begin, end := []byte("<!-- generated: "+name+" -->\n"), []byte("<!-- end: "+name+" -->")
	head, rest, ok := bytes.Cut(document, begin)
	if !ok {
		return nil, fmt.Errorf("no line %q", bytes.TrimSpace(begin))
	}
	_, tail, ok := bytes.Cut(rest, end)
	if !ok {
		return nil, fmt.Errorf("no line %q", end)
	}
	return slices.Concat(head, begin, content, end, tail), nil
}

func sentence(text string) string {
	return strings.ToUpper(text[:1]) + text[1:]
}

func cell(text string) string { return strings.ReplaceAll(text, "|", "\\|") }

// quoteValue writes a value such that it is read back as it is.
func quoteValue(text string) string {
	switch {
	case !strings.ContainsAny(text, " #$'\"\\"):
		return text
	case !strings.Contains(text, "'"):
		return "'" + text + "'" // nothing has a meaning inside
	default:
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`).Replace(text) + `"`
	}
}
