package message

import (
	"bytes"
	"crypto/sha1"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
)

// The bodies of IDi and IDr, Cert, CertReq and Auth.

// IDOfAddr returns the identity that is an address; one that is IPv4-mapped counts as IPv4.
func IDOfAddr(a netip.Addr) ID {
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return ID{Type: IDIPv4Addr, Data: a.AsSlice()}
	}
	return ID{Type: IDIPv6Addr, Data: a.AsSlice()}
}

// Addr returns the address that the identity is, if it is one.
func (id ID) Addr() (a netip.Addr, ok bool) {
	if id.Type != IDIPv4Addr && id.Type != IDIPv6Addr {
		return a, false
	}
	return netip.AddrFromSlice(id.Data)
}

// Equal says whether type and data are the same, octet by octet.
func (id ID) Equal(o ID) bool { return id.Type == o.Type && bytes.Equal(id.Data, o.Data) }

// Signed returns what of the payload AUTH covers: RestOfInitIDPayload or RestOfRespIDPayload (RFC 7296 section 2.15). Of
// a parsed identity that is what was received, reserved octets included.
func (id ID) Signed() []byte {
	b := append([]byte{byte(id.Type)}, id.reserved[:]...)
	return append(b, id.Data...)
}

// String is the identity as people write it: an address, a name, a distinguished name in the order in which it is encoded
// ("C=CH, O=example, CN=moon"). What cannot be printed is quoted or in hexadecimal.
func (id ID) String() string {
	switch id.Type {
	case IDIPv4Addr, IDIPv6Addr:
		if a, ok := id.Addr(); ok {
			return a.String()
		}
	case IDFQDN, IDRFC822Addr:
		return printable(id.Data)
	case IDDERASN1DN:
		if s, ok := distinguishedName(id.Data); ok {
			return s
		}
	case IDKeyID:
		if s := printable(id.Data); s != "" && s[0] != '"' {
			return s
		}
	case IDNull:
		return id.Type.String()
	}
	return id.Type.String() + ":" + hex.EncodeToString(id.Data)
}

// printable returns text that is safe for terminals and logs: quoted unless it is of visible ASCII alone.
func printable(b []byte) string {
	for _, c := range b {
		if c <= ' ' || c > '~' || c == '"' {
			return strconv.QuoteToASCII(string(b))
		}
	}
	if len(b) == 0 {
		return `""`
	}
	return string(b)
}

func distinguishedName(der []byte) (string, bool) {
	var rdns pkix.RDNSequence
	if rest, err := asn1.Unmarshal(der, &rdns); err != nil || len(rest) != 0 {
		return "", false
	}
	parts := make([]string, 0, len(rdns))
	for _, rdn := range rdns {
		part := strconv.QuoteToASCII(pkix.RDNSequence{rdn}.String())
		parts = append(parts, part[1:len(part)-1])
	}
	return strings.Join(parts, ", "), true
}

// idLen says which length of the data is wrong for a type: "" if n is right.
func idLen(t IDType, n int) (wanted string) {
	switch {
	case t == IDIPv4Addr && n != 4:
		return "4 octets"
	case t == IDIPv6Addr && n != 16:
		return "16 octets"
	}
	return ""
}

func parseID(r *reader) (ID, error) {
	if err := r.need(4, "identity"); err != nil {
		return ID{}, err
	}
	id := ID{Type: IDType(r.u8()), reserved: [3]byte(r.take(3))}
	if wanted := idLen(id.Type, len(r.b)); wanted != "" {
		return ID{}, r.bad(id.Type.String(), 0, octets(len(r.b)), wanted)
	}
	id.Data = r.rest()
	return id, nil
}

func (id ID) appendBody(b []byte) ([]byte, error) {
	if wanted := idLen(id.Type, len(id.Data)); wanted != "" {
		return nil, fmt.Errorf("%v of %s, wanted %s", id.Type, octets(len(id.Data)), wanted)
	}
	return append(append(b, byte(id.Type), 0, 0, 0), id.Data...), nil
}

// HashAndURL returns the parts of a certificate that is only pointed to (RFC 7296 section 3.6). Nobody may fetch it for a
// peer that is not authenticated.
func (c *Cert) HashAndURL() (hash [sha1.Size]byte, url string, ok bool) {
	if !c.Encoding.hashAndURL() || len(c.Data) < sha1.Size {
		return hash, "", false
	}
	return [sha1.Size]byte(c.Data), string(c.Data[sha1.Size:]), true
}

func (e CertEncoding) hashAndURL() bool { return e == CertHashAndURL || e == CertHashAndURLBundle }

func parseCert(r *reader) (*Cert, error) {
	if err := r.need(1, "certificate encoding"); err != nil {
		return nil, err
	}
	c := &Cert{Encoding: CertEncoding(r.u8())}
	if c.Encoding.hashAndURL() {
		if err := r.need(sha1.Size, c.Encoding.String()); err != nil {
			return nil, err
		}
	}
	c.Data = r.rest()
	return c, nil
}

func (c *Cert) appendBody(b []byte) ([]byte, error) {
	if c.Encoding.hashAndURL() && len(c.Data) < sha1.Size {
		return nil, fmt.Errorf("%v of %s", c.Encoding, octets(len(c.Data)))
	}
	return append(append(b, byte(c.Encoding)), c.Data...), nil
}

// Hashes returns the SHA-1 hashes of the trusted authorities' public keys; none if the encoding has no such hashes.
func (c *CertReq) Hashes() [][sha1.Size]byte {
	if !c.Encoding.listsHashes() {
		return nil
	}
	var hashes [][sha1.Size]byte
	for b := c.Authority; len(b) >= sha1.Size; b = b[sha1.Size:] {
		hashes = append(hashes, [sha1.Size]byte(b))
	}
	return hashes
}

func (e CertEncoding) listsHashes() bool { return e == CertX509Signature || e.hashAndURL() }

func parseCertReq(r *reader) (*CertReq, error) {
	if err := r.need(1, "certificate encoding"); err != nil {
		return nil, err
	}
	c := &CertReq{Encoding: CertEncoding(r.u8())}
	if n := len(r.b); c.Encoding.listsHashes() && n%sha1.Size != 0 {
		return nil, r.bad("certification authority", 0, octets(n), fmt.Sprintf("a multiple of %d", sha1.Size))
	}
	c.Authority = r.rest()
	return c, nil
}

func (c *CertReq) appendBody(b []byte) ([]byte, error) {
	if n := len(c.Authority); c.Encoding.listsHashes() && n%sha1.Size != 0 {
		return nil, fmt.Errorf("certification authorities of %s, wanted a multiple of %d", octets(n), sha1.Size)
	}
	return append(append(b, byte(c.Encoding)), c.Authority...), nil
}

func parseAuth(r *reader) (*Auth, error) {
	if err := r.need(4, "authentication"); err != nil {
		return nil, err
	}
	a := &Auth{Method: AuthMethod(r.u8())}
	r.take(3)
	if a.Method == AuthDigitalSignature {
		if err := r.need(1, "AlgorithmIdentifier length"); err != nil {
			return nil, err
		}
		n := int(r.u8())
		if err := r.need(n, "AlgorithmIdentifier"); err != nil {
			return nil, err
		}
		a.Algorithm = r.bytes(n)
	}
	a.Data = r.rest()
	return a, nil
}

func (a *Auth) appendBody(b []byte) ([]byte, error) {
	b = append(b, byte(a.Method), 0, 0, 0)
	switch n := len(a.Algorithm); {
	case a.Method == AuthDigitalSignature && n <= math.MaxUint8:
		b = append(append(b, byte(n)), a.Algorithm...)
	case n != 0:
		return nil, fmt.Errorf("%v with an AlgorithmIdentifier of %s", a.Method, octets(n))
	}
	return append(b, a.Data...), nil
}
