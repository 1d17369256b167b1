package message

import (
	"errors"
	"fmt"
)

// A SyntaxError says what of a message is not as RFC 7296 wants it.
type SyntaxError struct {
	// Payload is the payload it is in; NoNext for the header.
	Payload PayloadType
	// Offset is where the field begins, in octets from the start of what was given to Parse or ParsePayloads.
	Offset int
	Field  string
	// Offered is what was found, Wanted what should have been.
	Offered, Wanted string
}

// Error says where, what was offered and what was wanted.
func (e *SyntaxError) Error() string {
	where := "IKE header"
	if e.Payload != NoNext {
		where = e.Payload.String()
	}
	return fmt.Sprintf("%s, %s at octet %d: offered %s, wanted %s", where, e.Field, e.Offset, e.Offered, e.Wanted)
}

// Answer is INVALID_SYNTAX.
func (e *SyntaxError) Answer() *Notify { return &Notify{Type: InvalidSyntax} }

// A VersionError says that a message is not IKEv2.
type VersionError struct {
	Major, Minor uint8
}

// Error says which version was offered.
func (e *VersionError) Error() string {
	return fmt.Sprintf("IKE header, version: offered %d.%d, wanted 2.0", e.Major, e.Minor)
}

// Answer is INVALID_MAJOR_VERSION to a higher version (RFC 7296 section 2.5), and nothing to IKEv1, which has its own
// format.
func (e *VersionError) Answer() *Notify {
	if e.Major <= majorVersion {
		return nil
	}
	return &Notify{Type: InvalidMajorVersion, Data: []byte{majorVersion << 4}}
}

// UnsupportedCriticalPayload says that a payload which is critical is of an unknown type.
type UnsupportedCriticalPayload struct {
	Payload PayloadType
	Offset  int
}

// Error names the type.
func (e *UnsupportedCriticalPayload) Error() string {
	return fmt.Sprintf("%v at octet %d: offered as critical, wanted a payload of RFC 7296 or RFC 7383", e.Payload, e.Offset)
}

// Answer is UNSUPPORTED_CRITICAL_PAYLOAD with the type.
func (e *UnsupportedCriticalPayload) Answer() *Notify {
	return &Notify{Type: UnsupportedCritical, Data: []byte{byte(e.Payload)}}
}

// Answer returns the notification which answers a request that gave the error, or nil if there is none to be sent. Whether
// one may be sent at all is the machine's to say: to a message that is not authenticated mostly not (RFC 7296 section 2.21).
func Answer(err error) *Notify {
	var a interface{ Answer() *Notify }
	if errors.As(err, &a) {
		return a.Answer()
	}
	return nil
}
