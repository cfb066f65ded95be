package unitfile

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
)

// Hash is the key of a unit file's text: the SHA-256 of its bytes, 64 lower-case hexadecimal digits.
func Hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// HashOf returns the hash of a unit's file: of the text in the unit itself (spec.contents, as people write it with etcdctl)
// if there is one, else the hash that the unit names.
func HashOf(contents, hash string) string {
	if contents != "" {
		return Hash(contents)
	}
	return hash
}

// FleetHash is the hash that the fleet v1 API and list-units show: the SHA-1 of the bytes, 40 lower-case hexadecimal digits.
// It only identifies a text for people and old clients; nothing depends on it.
func FleetHash(text string) string {
	sum := sha1.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}
