"""From cases to a trained member: the pool of cases, patches, augmentation, loss, averaging, the loop."""
