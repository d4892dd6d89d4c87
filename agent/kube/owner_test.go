package kube

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A pod that names another's replica set by its uid alone does not change what owns the other's pods.
func TestOwnersOfOneUID(t *testing.T) {
	o := newOwners(nil, newStatus("https://192.0.2.1", "n1"))
	f := func(namespace, replicaSet, hash, want string) {
		t.Helper()
		yes := true
		_, c := ownerOf(&metav1.ObjectMeta{
			Namespace: namespace, Labels: map[string]string{"pod-template-hash": hash},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: replicaSet, UID: "u1", Controller: &yes}},
		})
		if got := o.of(c); got != want {
			t.Errorf("a pod in %s of %s is owned by %s, want %s", namespace, replicaSet, got, want)
		}
	}
	f("evil", "mine-5d9c", "5d9c", "Deployment/mine")
	f("shop", "web-5d9c", "5d9c", "Deployment/web")
	f("shop", "mine-5d9c", "5d9c", "Deployment/mine")
	f("shop", "web-5d9c", "5d9c", "Deployment/web")
}
