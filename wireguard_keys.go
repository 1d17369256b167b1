package warren

import (
	"errors"
	"strings"

	"github.com/warrenvpn/warren/tunnel/wireguard/quick"
)

// GenKey makes a WireGuard private key, in base64.
func GenKey() (string, error) {
	k, err := quick.GenKey()
	return k.Base64(), err
}

// GenPSK makes a WireGuard preshared key, in base64.
func GenPSK() (string, error) {
	k, err := quick.GenPSK()
	return k.Base64(), err
}

// PublicKey returns the public key of a WireGuard private key, both in base64. White space around the key does not matter.
func PublicKey(private string) (string, error) {
	k, err := quick.ParseKey(strings.TrimSpace(private))
	if err != nil {
		return "", errors.New("this is no WireGuard key; want what `warren genkey` prints")
	}
	return k.Public().String(), nil
}
