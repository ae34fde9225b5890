package config

import (
	"fmt"
	"slices"
	"strings"
)

// OldName maps a variable of earlier versions to what replaces it.
type OldName struct {
	Old  string
	New  string // a variable of today
	Note string // how the value changes, in Markdown
}

// OldNames lists the variables of earlier versions. They are not read; see [Set.OldNameWarnings].
func OldNames() []OldName {
	return []OldName{
		{"SERVER_PORT", "GOCHAT_CHATROOM_LISTEN", "with a colon: `8080` becomes `:8080`"},
		{"SERVER_URL", "GOCHAT_SERVER", "of the clients: `ws://host:8080`"},
		{"TLS_SERVER_URL", "GOCHAT_SERVER", "of the clients: `wss://host:8080`"},
		{"IS_TLS", "GOCHAT_TLS_CERT", "no switch any more: a certificate and its key turn TLS on; clients say `wss://`"},
		{"SERVER_KEY", "GOCHAT_TLS_KEY", "a file"},
		{"SERVER_CERTIFICATE", "GOCHAT_TLS_CERT", "a file; a client that trusts an own authority names it in `GOCHAT_CA`"},
		{"MESSAGE_SERVICE_PORT", "GOCHAT_PERSISTER_LISTEN", "with a colon: `:8081`; the chat room finds it with `GOCHAT_HISTORY_ADDR`"},
		{"POSTGRES_USER", "DATABASE_URL", "part of the URL"},
		{"POSTGRES_PASSWORD", "DATABASE_URL", "part of the URL, percent-encoded"},
		{"POSTGRES_HOST", "DATABASE_URL", "part of the URL"},
		{"POSTGRES_PORT", "DATABASE_URL", "part of the URL"},
		{"POSTGRES_DB", "DATABASE_URL", "part of the URL"},
	}
}

// OldNameWarnings returns a line for each setting of this command that is not set while a variable that earlier versions
// read in its place is. Call it after [Set.Parse].
func (s *Set) OldNameWarnings() []string {
	var order []string
	olds := make(map[string][]string)
	for _, o := range OldNames() {
		st := s.byEnv(o.New)
		if st == nil || st.source != Default {
			continue
		}
		value := s.getenv(o.Old)
		if value == "" {
			value = s.dotenv[o.Old]
		}
		if on, err := parseBool(value); value == "" || (o.Old == "IS_TLS" && err == nil && !on) {
			continue
		}
		if olds[o.New] == nil {
			order = append(order, o.New)
		}
		olds[o.New] = append(olds[o.New], o.Old)
	}
	var warnings []string
	for _, name := range order {
		verb := "is"
		if len(olds[name]) > 1 {
			verb = "are"
		}
		warnings = append(warnings, fmt.Sprintf("%s %s not read any more: set %s", strings.Join(olds[name], ", "), verb, name))
	}
	return warnings
}

func (s *Set) byEnv(name string) *setting {
	for _, st := range s.settings {
		if slices.Contains(st.env, name) {
			return st
		}
	}
	return nil
}
