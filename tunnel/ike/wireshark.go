package ike

import (
	"fmt"
	"net/netip"

	"github.com/warrenvpn/warren/tunnel/ike/crypto"
)

// Rows of Wireshark's decryption tables, as its preferences of the protocols ISAKMP and ESP have them: names are those of
// Wireshark 4.0, which knows neither ChaCha20-Poly1305 nor extended sequence numbers; the ESP of an SA with these is decrypted
// all the same, only its ICV is not checked.

// Wireshark returns a row of the file ikev2_decryption_table; false if Wireshark does not know the algorithms.
func (k *IKEKeys) Wireshark() (row string, ok bool) {
	encryption := ""
	switch k.Cipher.Encr {
	case crypto.EncrAESGCM16:
		encryption = fmt.Sprintf("AES-GCM-%d with 16 octet ICV [RFC5282]", k.Cipher.KeyBits)
	case crypto.EncrAESCBC:
		encryption = fmt.Sprintf("AES-CBC-%d [RFC3602]", k.Cipher.KeyBits)
	}
	integrity := map[crypto.IntegID]string{
		crypto.IntegNone: "NONE [RFC4306]", crypto.IntegHMACSHA1_96: "HMAC_SHA1_96 [RFC2404]",
		crypto.IntegHMACSHA256128: "HMAC_SHA2_256_128 [RFC4868]", crypto.IntegHMACSHA384192: "HMAC_SHA2_384_192 [RFC4868]",
		crypto.IntegHMACSHA512256: "HMAC_SHA2_512_256 [RFC4868]",
	}[k.Cipher.Integ]
	return fmt.Sprintf("%016x,%016x,%x,%x,%q,%x,%x,%q", k.SPIs.Initiator, k.SPIs.Responder, []byte(k.EI), []byte(k.ER), encryption,
		[]byte(k.AI), []byte(k.AR), integrity), encryption != "" && integrity != ""
}

// Wireshark returns the two rows of the file esp_sa, inbound and outbound, as long as the child SA has its keys; false if
// Wireshark does not know the algorithms.
func (c *ChildSA) Wireshark() (rows [2]string, ok bool) {
	encryption, integrity := "AES-CBC [RFC3602]", "NULL"
	key := c.Cipher.EncrLen()
	switch c.Cipher.Encr {
	case crypto.EncrAESGCM16:
		encryption = "AES-GCM with 16 octet ICV [RFC4106]"
	case crypto.EncrAESCBC:
	default:
		return rows, false
	}
	if !c.Cipher.Encr.AEAD() {
		integrity = map[crypto.IntegID]string{
			crypto.IntegHMACSHA1_96: "HMAC-SHA-1-96 [RFC2404]", crypto.IntegHMACSHA256128: "HMAC-SHA-256-128 [RFC4868]",
			crypto.IntegHMACSHA384192: "HMAC-SHA-384-192 [RFC4868]", crypto.IntegHMACSHA512256: "HMAC-SHA-512-256 [RFC4868]",
		}[c.Cipher.Integ]
	}
	family := "IPv4"
	if c.Path.Remote.Addr().Is6() {
		family = "IPv6"
	}
	row := func(spi uint32, keys Secret, from, to netip.Addr) string {
		if len(keys) < key {
			return ""
		}
		auth := ""
		if integ := keys[key:]; len(integ) > 0 {
			auth = fmt.Sprintf("0x%x", []byte(integ))
		}
		return fmt.Sprintf("%q,%q,%q,%q,%q,%q,%q,%q", family, anyAddr(from), anyAddr(to), fmt.Sprintf("0x%08x", spi), encryption,
			fmt.Sprintf("0x%x", []byte(keys[:key])), integrity, auth)
	}
	local, remote := c.Path.Local.Addr(), c.Path.Remote.Addr()
	rows = [2]string{row(c.In, c.InKey, remote, local), row(c.Out, c.OutKey, local, remote)}
	return rows, rows[0] != "" && rows[1] != ""
}

// anyAddr spells an address, or Wireshark's word for any where it is not known.
func anyAddr(a netip.Addr) string {
	if !a.IsValid() {
		return "*"
	}
	return a.String()
}
