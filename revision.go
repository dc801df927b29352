package selvage

import "time"

// PolicyRevision is one text that was the policy of a tailnet. Texts are kept byte
// for byte, comments included.
type PolicyRevision struct {
	Tailnet TailnetID `json:"tailnet"`
	Rev     int64     `json:"rev"` // counts the revisions of the tailnet from 1
	Text    string    `json:"text"`
	Created time.Time `json:"created"`
	Author  string    `json:"author"` // for people: the actor's name or kind
}
