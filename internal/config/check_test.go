package config_test

import (
	"strings"
	"testing"

	"github.com/rafaeldepontes/go-chat/internal/config"
)

func TestChecks(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		check     func(string) error
		good, bad []string
	}{
		{
			"ListenAddress", config.ListenAddress,
			[]string{":8080", "127.0.0.1:0", "[::1]:80", "host:65535"},
			[]string{"", "8080", "host", ":65536", ":-1", ":http", "::1:80"},
		},
		{
			"DialAddress", config.DialAddress,
			[]string{"localhost:8081", "[::1]:1"},
			[]string{"", ":8081", "host:0", "host", "host:70000"},
		},
		{
			"URL", config.URL("amqp", "amqps"),
			[]string{"amqp://guest:guest@localhost:5672/", "amqps://h/vhost", "amqp://h"},
			[]string{"", "localhost:5672", "http://h", "amqp://", "amqp://:5672", "amqp://h:0", "amqp://h:70000", "amqp://h:x"},
		},
		{"OneOf", config.OneOf("a", "b"), []string{"a", "b"}, []string{"", "A", "c"}},
		{"NotEmpty", config.NotEmpty, []string{"x"}, []string{"", "  "}},
		{
			"Origins", config.Origins,
			[]string{"", "*", "https://a.example", "http://a:1, https://b"},
			[]string{"a.example", "ftp://a", "https://a/path", "https://"},
		},
		{"AtLeast", config.AtLeast(1), []string{"1", "1KiB"}, []string{"0", "-1"}},
		{"Between", config.Between(1, 3), []string{"1", "3"}, []string{"0", "4"}},
		{"NotNegative", config.NotNegative, []string{"0", "0.5"}, []string{"-0.1"}},
		{"PositiveDuration", config.PositiveDuration, []string{"1ms"}, []string{"0s", "-1s"}},
		{"NotNegativeDuration", config.NotNegativeDuration, []string{"0s", "1s"}, []string{"-1s"}},
		{"Optional", config.Optional(config.DialAddress), []string{"", "h:1"}, []string{"h"}},
	}
	for _, tt := range tests {
		for _, text := range tt.good {
			if err := tt.check(text); err != nil {
				t.Errorf("%s(%q): %v", tt.name, text, err)
			}
		}
		for _, text := range tt.bad {
			if err := tt.check(text); err == nil || strings.ContainsRune(err.Error(), '\n') {
				t.Errorf("%s(%q): got %v, want an error of one line", tt.name, text, err)
			}
		}
	}
}

func TestBadNumbers(t *testing.T) {
	t.Parallel()
	for flag, values := range map[string][]string{
		"i":    {"", "1.5", "x", "9999999999999999999999"},
		"f":    {"", "x", "NaN", "Inf", "1e999"},
		"d":    {"", "5", "x"},
		"size": {"", "x", "1.5MiB", "9223372036854775807KiB", "1MB2"},
		"b":    {"maybe", ""},
	} {
		for _, value := range values {
			s := config.New("test")
			s.Int("i", 0, "")
			s.Float("f", 0, "")
			s.Duration("d", 0, "")
			s.Size("size", 0, "")
			s.Bool("b", false, "")
			if _, err := s.Parse([]string{"--" + flag + "=" + value}, env(), nil); err == nil {
				t.Errorf("--%s=%s was accepted", flag, value)
			}
		}
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	among := []string{"listen", "send-rate", "send-burst", "heartbeat"}
	for text, want := range map[string]string{
		"lisen": "listen", "litsen": "listen", "sendrate": "send-rate", "heart-beat": "heartbeat", "colour": "", "": "", "l": "",
	} {
		if got := config.Nearest(text, among); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", text, got, want)
		}
	}
}
