package message

// HeaderLen is the length of the IKE header in octets.
const HeaderLen = 28

// A Header is the IKE header (RFC 7296 section 3.1). The version is not in it: it is 2.0 on send, and 2 with any minor
// version on receipt.
type Header struct {
	SPIi, SPIr uint64
	Exchange   ExchangeType
	Flags      Flags
	MessageID  uint32
}

// A Message is a message in the clear, or the clear part of a protected one, with an *SK or *SKF as last payload.
type Message struct {
	Header
	Payloads []Payload
}
