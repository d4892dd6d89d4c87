package workload

import (
	"errors"
	"slices"
)

// Pod is what this node needs to know of a pod. Its slices belong to who was given them.
type Pod struct {
	UID            string         `json:"uid"`
	ConfigHash     string         `json:"config_hash,omitempty"` // of static pods: their cgroups carry it in place of the uid
	Namespace      string         `json:"namespace"`
	Name           string         `json:"name"`
	ServiceAccount string         `json:"service_account,omitempty"` // static pods have none
	Owner          string         `json:"owner,omitempty"`           // root controller, as Kind/name
	HostNetwork    bool           `json:"host_network,omitempty"`
	Containers     []PodContainer `json:"containers,omitempty"` // those that an engine has made, of every kind
	Ended          bool           `json:"-"`                    // all its containers have
}

// PodContainer is one container of a pod: an ordinary, an init or an ephemeral one.
type PodContainer struct {
	Name  string `json:"name"`
	ID    string `json:"id"`              // the engine's, without the engine's name
	Image string `json:"image,omitempty"` // with its digest where that is known, else as the pod asks for it
}

func (p *Pod) validate() error {
	switch {
	case !validUID(p.UID):
		return errors.New("a pod has no valid uid")
	case p.Namespace == "" || p.Name == "":
		return errors.New("a pod has no namespace or name")
	}
	return nil
}

func (p *Pod) same(other *Pod) bool {
	return p.UID == other.UID && p.ConfigHash == other.ConfigHash && p.Namespace == other.Namespace && p.Name == other.Name &&
		p.ServiceAccount == other.ServiceAccount && p.Owner == other.Owner && p.HostNetwork == other.HostNetwork &&
		slices.Equal(p.Containers, other.Containers)
}

// static says that a hash is what kubelet names static pods by, and not the uid of another pod: whoever may make pods may write annotations.
func (p *Pod) static() bool {
	return p.ConfigHash != "" && validUID(p.ConfigHash) && !isUUID(p.ConfigHash)
}

func isUUID(s string) bool {
	return len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-'
}
