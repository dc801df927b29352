package store

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"database/sql"
	"fmt"

	"selvage"
)

// The row of the table secrets that tells whether the master key is the right one.
const (
	checkName  = "master-key-check"
	checkPlain = "the master key of this database"
)

// vault encrypts secrets with AES-256-GCM under the master key. The name of a secret
// is additional data, so that one can't be put in the place of another.
type vault struct {
	aead cipher.AEAD
	key  []byte
}

func newVault(key []byte) (*vault, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("use master key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("use master key: %w", err)
	}
	return &vault{aead: aead, key: append([]byte(nil), key...)}, nil
}

func (v *vault) seal(name string, plain []byte) []byte {
	return v.aead.Seal(nil, nil, plain, []byte(name))
}

func (v *vault) open(name string, sealed []byte) ([]byte, error) {
	plain, err := v.aead.Open(nil, nil, sealed, []byte(name))
	if err != nil {
		return nil, fmt.Errorf("decrypt secret %s: %w", name, err)
	}
	return plain, nil
}

// Secret returns the secret that was saved under the name, or an error of
// KindNotFound.
func (tx *Tx) Secret(name string) ([]byte, error) {
	sealed, ok, err := one(tx, scanBytes, "SELECT sealed FROM secrets WHERE name = $1", name)
	if err != nil {
		return nil, fmt.Errorf("read secret %s: %w", name, err)
	}
	if !ok {
		return nil, selvage.Errorf(selvage.KindNotFound, "secret %s is not there", name)
	}
	return tx.db.vault.open(name, sealed)
}

// PutSecret encrypts the secret and saves it under the name, in place of an older one.
func (tx *Tx) PutSecret(name string, plain []byte) error {
	if name == checkName {
		return selvage.Errorf(selvage.KindInvalid, "the name %s is taken by the database itself", name)
	}
	return tx.putSealed(name, tx.db.vault.seal(name, plain))
}

func (tx *Tx) putSealed(name string, sealed []byte) error {
	_, err := tx.exec("INSERT INTO secrets (name, sealed) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed", name, sealed)
	if err != nil {
		return fmt.Errorf("save secret %s: %w", name, err)
	}
	return nil
}

// checkMasterKey fails if the database was made with another master key. A new
// database takes the one it is opened with.
func (tx *Tx) checkMasterKey() error {
	if err := tx.lockSchema(); err != nil {
		return fmt.Errorf("check master key: %w", err)
	}
	sealed, ok, err := one(tx, scanBytes, "SELECT sealed FROM secrets WHERE name = $1", checkName)
	if err != nil {
		return fmt.Errorf("check master key: %w", err)
	}
	if !ok {
		return tx.putSealed(checkName, tx.db.vault.seal(checkName, []byte(checkPlain)))
	}
	plain, err := tx.db.vault.open(checkName, sealed)
	if err != nil || subtle.ConstantTimeCompare(plain, []byte(checkPlain)) != 1 {
		return selvage.Errorf(selvage.KindInvalid, "the master key does not fit database %s: start with the key file that the database was made with, "+
			"or restore a backup, which holds its key", tx.db.Place())
	}
	return nil
}

func scanBytes(rows *sql.Rows) ([]byte, error) {
	var b []byte
	err := rows.Scan(&b)
	return b, err
}
