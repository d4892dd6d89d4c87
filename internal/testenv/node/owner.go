package node

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Own makes a controller as users do, and what it would make between itself and its pods: the pods are the test's to make, with the reference as Owner
// and the labels. kind is Deployment, ReplicaSet, DaemonSet, StatefulSet, CronJob or Job.
func (n *Node) Own(ctx context.Context, kind, namespace, name string) (*metav1.OwnerReference, map[string]string, error) {
	labels := map[string]string{"app": name}
	meta := metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels}
	selector := &metav1.LabelSelector{MatchLabels: labels}
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: podSpec(PodSpec{Containers: []string{"app"}})}
	apps, batch, options := n.Client.AppsV1(), n.Client.BatchV1(), metav1.CreateOptions{}

	var made metav1.Object
	var err error
	switch kind {
	case "Deployment":
		made, err = apps.Deployments(namespace).Create(ctx, &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Selector: selector, Template: template}}, options)
		if err == nil {
			const hash = "7d4b9c8f65"
			labels["pod-template-hash"] = hash
			meta.Name, meta.OwnerReferences = name+"-"+hash, []metav1.OwnerReference{*reference("apps/v1", kind, name, made.GetUID())}
			kind = "ReplicaSet"
			made, err = apps.ReplicaSets(namespace).Create(ctx, &appsv1.ReplicaSet{ObjectMeta: meta, Spec: appsv1.ReplicaSetSpec{Selector: selector, Template: template}}, options)
		}
	case "ReplicaSet":
		made, err = apps.ReplicaSets(namespace).Create(ctx, &appsv1.ReplicaSet{ObjectMeta: meta, Spec: appsv1.ReplicaSetSpec{Selector: selector, Template: template}}, options)
	case "DaemonSet":
		made, err = apps.DaemonSets(namespace).Create(ctx, &appsv1.DaemonSet{ObjectMeta: meta, Spec: appsv1.DaemonSetSpec{Selector: selector, Template: template}}, options)
	case "StatefulSet":
		made, err = apps.StatefulSets(namespace).Create(ctx, &appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Selector: selector, Template: template, ServiceName: name}}, options)
	case "CronJob":
		template.Spec.RestartPolicy = corev1.RestartPolicyNever
		made, err = batch.CronJobs(namespace).Create(ctx, &batchv1.CronJob{ObjectMeta: meta, Spec: batchv1.CronJobSpec{
			Schedule: "* * * * *", JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: template}},
		}}, options)
		if err == nil {
			meta.OwnerReferences = []metav1.OwnerReference{*reference("batch/v1", kind, name, made.GetUID())}
			meta.Name, kind = name+"-29412345", "Job"
			made, err = batch.Jobs(namespace).Create(ctx, &batchv1.Job{ObjectMeta: meta, Spec: batchv1.JobSpec{Template: template}}, options)
		}
	case "Job":
		template.Spec.RestartPolicy = corev1.RestartPolicyNever
		made, err = batch.Jobs(namespace).Create(ctx, &batchv1.Job{ObjectMeta: meta, Spec: batchv1.JobSpec{Template: template}}, options)
	default:
		err = fmt.Errorf("kind %q is none of those that own pods", kind)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("create owner: %w", err)
	}
	group := map[string]string{"Job": "batch/v1"}[kind]
	if group == "" {
		group = "apps/v1"
	}
	return reference(group, kind, meta.Name, made.GetUID()), labels, nil
}

func reference(group, kind, name string, uid types.UID) *metav1.OwnerReference {
	controller := true
	return &metav1.OwnerReference{APIVersion: group, Kind: kind, Name: name, UID: uid, Controller: &controller}
}
