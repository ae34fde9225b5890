package events

// The two ways of reading and writing a MessageSent, for the tests that compare them.
var (
	DecodeCanonical = decodeCanonical
	DecodeReflected = decodeReflected
	SplitCanonical  = splitCanonical
)

// EncodeReflected is Encode by encoding/json.
func (m MessageSent) EncodeReflected(traceparent string) ([]byte, error) {
	return m.encodeReflected(traceparent)
}
