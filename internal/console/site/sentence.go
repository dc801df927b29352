package site

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Sentence is Sentence for the visitor, whose login stays as it is written.
func (v *Visit) Sentence(msg string) string {
	if v.User != nil && strings.HasPrefix(msg, v.User.Login+" ") {
		return v.User.Login + Sentence(msg[len(v.User.Login):])
	}
	return Sentence(msg)
}

// Sentence makes a sentence of an error's message: a capital letter and a full stop.
func Sentence(msg string) string {
	if msg == "" {
		return ""
	}
	first, size := utf8.DecodeRuneInString(msg)
	if word, _, _ := strings.Cut(msg, " "); !strings.ContainsAny(word, "@.`\"") {
		msg = string(unicode.ToUpper(first)) + msg[size:]
	}
	if strings.ContainsAny(msg[len(msg)-1:], ".!?") {
		return msg
	}
	return msg + "."
}
