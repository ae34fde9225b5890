package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ListenAddress accepts what a listener takes: host:port or :port, port 0 to 65535 (0: any free one).
func ListenAddress(text string) error {
	_, port, err := net.SplitHostPort(text)
	if err != nil {
		return fmt.Errorf("%q is not an address like 127.0.0.1:8080 or :8080", text)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%q is not an address like 127.0.0.1:8080: the port is a number up to 65535", text)
	}
	return nil
}

// DialAddress accepts what a client connects to: host:port with a host and a port above 0.
func DialAddress(text string) error {
	host, port, err := net.SplitHostPort(text)
	if err != nil || host == "" {
		return fmt.Errorf("%q is not an address like localhost:8081", text)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("%q is not an address like localhost:8081: the port is a number from 1 to 65535", text)
	}
	return nil
}

// Optional accepts the empty text and otherwise asks check.
func Optional(check func(string) error) func(string) error {
	return func(text string) error {
		if text == "" {
			return nil
		}
		return check(text)
	}
}

// URL accepts an absolute URL with one of the schemes and a host. Its errors never repeat the text, which may hold a
// password.
func URL(schemes ...string) func(string) error {
	return func(text string) error {
		u, err := url.Parse(text)
		if err != nil {
			return errors.New("is not a URL; a special character in a password is written with a percent sign, such as %40 for @")
		}
		if !slices.Contains(schemes, u.Scheme) {
			return fmt.Errorf("must begin with %s", orList(schemes, "://"))
		}
		if u.Hostname() == "" {
			return fmt.Errorf("names no host; it looks like %s://host", u.Scheme)
		}
		if p := u.Port(); p != "" {
			if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
				return errors.New("has a port that is not a number from 1 to 65535")
			}
		}
		return nil
	}
}

// OneOf accepts exactly the given words.
func OneOf(words ...string) func(string) error {
	return func(text string) error {
		if slices.Contains(words, text) {
			return nil
		}
		return fmt.Errorf("%q is not one of %s", text, strings.Join(words, ", "))
	}
}

// NotEmpty refuses an empty text.
func NotEmpty(text string) error {
	if strings.TrimSpace(text) == "" {
		return errors.New("must not be empty")
	}
	return nil
}

// Origins accepts a comma list of browser origins, scheme://host[:port] each, or *.
func Origins(text string) error {
	for _, o := range List(text) {
		if o == "*" {
			continue
		}
		u, err := url.Parse(o)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || strings.Trim(u.Path, "/") != "" {
			return fmt.Errorf("%q is not an origin like https://chat.example.com", o)
		}
	}
	return nil
}

// List splits a comma list; blanks around a word and empty words are dropped.
func List(text string) []string {
	var out []string
	for word := range strings.SplitSeq(text, ",") {
		if word = strings.TrimSpace(word); word != "" {
			out = append(out, word)
		}
	}
	return out
}

// AtLeast accepts whole numbers from low upwards.
func AtLeast(low int64) func(string) error {
	return func(text string) error {
		if n, err := parseSize(text); err == nil && n < low {
			return fmt.Errorf("%s is too small: at least %d", text, low)
		}
		return nil
	}
}

// Between accepts whole numbers from low to high, both included.
func Between(low, high int64) func(string) error {
	return func(text string) error {
		if n, err := parseSize(text); err == nil && (n < low || n > high) {
			return fmt.Errorf("%s is out of bounds: from %d to %d", text, low, high)
		}
		return nil
	}
}

// NotNegative accepts numbers from 0 upwards, whole or not.
func NotNegative(text string) error {
	if n, err := parseFloat(text); err == nil && n < 0 {
		return fmt.Errorf("%s is negative", text)
	}
	return nil
}

// PositiveDuration refuses zero and negative lengths of time.
func PositiveDuration(text string) error {
	if d, err := parseDuration(text); err == nil && d <= 0 {
		return fmt.Errorf("%s must be longer than 0", text)
	}
	return nil
}

// NotNegativeDuration refuses negative lengths of time; 0 has a meaning of its own there.
func NotNegativeDuration(text string) error {
	if d, err := parseDuration(text); err == nil && d < 0 {
		return fmt.Errorf("%s is negative", text)
	}
	return nil
}

func parseBool(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "yes", "on":
		return true, nil
	case "no", "off":
		return false, nil
	}
	b, err := strconv.ParseBool(strings.ToLower(text))
	if err != nil {
		return false, fmt.Errorf("%q is neither true nor false", text)
	}
	return b, nil
}

func parseFloat(text string) (float64, error) {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
		return 0, fmt.Errorf("%q is not a number", text)
	}
	return n, nil
}

func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q is not a length of time like 25s or 1m30s", text)
	}
	return d, nil
}

// formatDuration is Duration.String without its trailing zero units: 10m and not 10m0s.
func formatDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

var sizeUnits = []struct {
	suffix string
	bytes  int64
}{{"gib", 1 << 30}, {"mib", 1 << 20}, {"kib", 1 << 10}, {"b", 1}}

func parseSize(text string) (int64, error) {
	number, unit := strings.ToLower(strings.TrimSpace(text)), int64(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(number, u.suffix); ok {
			number, unit = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n > math.MaxInt64/unit || n < math.MinInt64/unit {
		return 0, fmt.Errorf("%q is not a size like 1048576, 512KiB or 1MiB", text)
	}
	return n * unit, nil
}

func formatSize(n int64) string {
	for _, u := range sizeUnits[:3] {
		if n != 0 && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + strings.ToUpper(u.suffix[:1]) + "iB"
		}
	}
	return strconv.FormatInt(n, 10)
}

func orList(words []string, suffix string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = w + suffix
	}
	return strings.Join(quoted, " or ")
}
