#!/bin/sh
# Installs nnU-Net v2 into a virtual environment: nnunet.sh VENV
# Its own requirements would bring timm and torchvision, hence another torch with CUDA, and are not needed for the
# networks it plans by default. So its packages come without requirements, and what they import comes by name.
set -e
pip="$1/bin/pip"
"$pip" install --quiet scikit-image scikit-learn pandas seaborn nibabel tifffile imagecodecs blosc2 einops \
    requests connected-components-3d threadpoolctl future graphviz yacs
"$pip" install --quiet --no-deps "nnunetv2>=2.8,<3" "batchgenerators>=0.25.1" "batchgeneratorsv2>=0.3.2" \
    "dynamic-network-architectures>=0.4.4,<0.5" "acvl-utils>=0.2.6,<0.3"
"$1/bin/python" -c "import nnunetv2.training.nnUNetTrainer.nnUNetTrainer"
