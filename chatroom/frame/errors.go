package frame

import "fmt"

// Code names what went wrong with a request.
type Code string

// Codes of error frames. The contract ties each to whether a retry can help and to an HTTP status.
const (
	BadRequest   Code = "bad_request"
	UnknownType  Code = "unknown_type"
	Unauthorized Code = "unauthorized"
	Forbidden    Code = "forbidden"
	NotJoined    Code = "not_joined"
	TooLarge     Code = "too_large"
	RateLimited  Code = "rate_limited"
	IDConflict   Code = "id_conflict"
	Unavailable  Code = "unavailable"
	Internal     Code = "internal"
)

// Retry tells whether the same request, with the same id, may succeed later.
func (c Code) Retry() bool { return c == RateLimited || c == Unavailable || c == Internal }

// Close codes. 4000 to 4099 ask to reconnect, 4100 to 4199 ask to stop.
const (
	CloseShutdown     = 4000
	CloseNoPong       = 4001
	CloseWriteTimeout = 4002
	CloseOverloaded   = 4003
	CloseBadToken     = 4100
	CloseBadHello     = 4101
	CloseBanned       = 4102
	CloseFlood        = 4103
)

// Error is the error frame, and a Go error.
type Error struct {
	Type         string `json:"type"`
	ID           string `json:"id,omitempty"`
	Code         Code   `json:"code"`
	Message      string `json:"message"`
	Retry        bool   `json:"retry"`
	RetryAfterMS int64  `json:"retry_after_ms,omitempty"`
}

func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

// Errorf makes an error frame that answers the request id (empty: none).
func Errorf(code Code, id, format string, args ...any) *Error {
	return &Error{Type: TypeError, ID: id, Code: code, Message: fmt.Sprintf(format, args...), Retry: code.Retry()}
}
