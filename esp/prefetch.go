package esp

import "github.com/warrenvpn/warren/internal/prefetch"

// What sealing reads of the standard library's AES-GCM on amd64: the encryption keys at the front, of AES-128 here, and the
// powers of H at the end. Between them are decryption keys that GCM never uses. Of others this is a guess that costs nothing
// but itself.
const gcmHead, gcmTail = 8 + 11*16, 16 * 16

// Near returns the memory that sealing reads: the SA, and the parts of its AEAD.
func (sa *Outbound) Near() (own, head, tail prefetch.Piece) {
	aead := prefetch.Behind(sa.aead)
	return prefetch.Of(sa), aead.First(gcmHead), aead.Last(gcmTail)
}
