package config

// Option changes the declaration of a setting.
type Option func(*Set, *setting)

// Env names the variable in the place of the one derived from the flag's name.
func Env(name string) Option {
	return func(_ *Set, st *setting) { st.env = []string{name} }
}

// PerCommand gives the setting a variable of its own for each command, such as GOCHAT_PERSISTER_LISTEN, that beats the
// common one, GOCHAT_LISTEN: two services may then share one .env file although their values differ.
func PerCommand() Option {
	return func(s *Set, st *setting) {
		st.common = st.env[0]
		st.env = []string{twin(s.command, st.name), st.common}
	}
}

// FlagOnly marks an argument of one call, such as --after: it has no variable.
func FlagOnly() Option {
	return func(_ *Set, st *setting) { st.env = nil }
}

// Secret keeps the value out of every text.
func Secret() Option {
	return func(_ *Set, st *setting) { st.secret = true }
}

// Value names what the help text shows in the place of the value, such as URL or FILE.
func Value(kind string) Option {
	return func(_ *Set, st *setting) { st.kind = kind }
}

// Check adds a test of the value's text. It runs after the value was parsed, and not on the default. Its error must not
// repeat the value of a secret; several checks run in their order until one fails.
func Check(check func(text string) error) Option {
	return func(_ *Set, st *setting) { st.checks = append(st.checks, check) }
}
