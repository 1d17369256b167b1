package proposal

import (
	"fmt"
	"slices"

	"github.com/warrenvpn/warren/tunnel/ike/crypto"
	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// A Choice is what two sides agreed on.
type Choice struct {
	Protocol   message.ProtocolID
	Number     uint8               // of the offered proposal
	SPI        []byte              // of the side that sent what was examined: the offer in Select, the answer in Accept
	Transforms []message.Transform // one of each type, those included that say NONE
}

// String spells what was chosen.
func (c Choice) String() string { return spellAll(c.Protocol, c.Transforms) }

// Answer returns the SA payload's proposal that tells the choice to the initiator.
func (c Choice) Answer(spi []byte) []message.Proposal {
	return []message.Proposal{{Number: c.Number, Protocol: c.Protocol, SPI: spi, Transforms: slices.Clone(c.Transforms)}}
}

// one returns the transform of a type; zero if there is none.
func (c Choice) one(typ message.TransformType) message.Transform {
	if some := of(c.Transforms, typ); len(some) > 0 {
		return some[0]
	}
	return message.Transform{}
}

// Cipher returns what encrypts.
func (c Choice) Cipher() crypto.Cipher {
	encr := c.one(message.TransformEncr)
	return crypto.Cipher{
		Encr: crypto.EncrID(encr.ID), KeyBits: int(encr.KeyLength), Integ: crypto.IntegID(c.one(message.TransformInteg).ID),
	}
}

// Suite returns what keys an IKE SA.
func (c Choice) Suite() crypto.Suite {
	return crypto.Suite{PRF: crypto.PRFID(c.one(message.TransformPRF).ID), Cipher: c.Cipher()}
}

// KE returns the key exchange method, or crypto.GroupNone.
func (c Choice) KE() crypto.GroupID { return crypto.GroupID(c.one(message.TransformKE).ID) }

// AdditionalKE returns the additional key exchange methods in the order in which they are carried out (RFC 9370 section
// 2.2.1).
func (c Choice) AdditionalKE() []crypto.GroupID {
	var ids []crypto.GroupID
	for typ := message.TransformADDKE1; typ.AdditionalKE(); typ++ {
		if id := c.one(typ).ID; id != message.KENone {
			ids = append(ids, crypto.GroupID(id))
		}
	}
	return ids
}

// ESN says whether ESP's sequence numbers are extended.
func (c Choice) ESN() bool { return c.one(message.TransformSN).ID == message.SN64 }

// ESPSuite returns the suite as package esp spells it: "aes256gcm16", "aes256-sha256".
func (c Choice) ESPSuite() (string, error) {
	cipher := c.Cipher()
	if err := cipher.Check(); err != nil {
		return "", fmt.Errorf("choosing an ESP suite: %w", err)
	}
	encr := spell(c.one(message.TransformEncr))
	if cipher.Integ == crypto.IntegNone {
		return encr, nil
	}
	return encr + "-" + spell(c.one(message.TransformInteg)), nil
}
