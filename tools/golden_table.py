"""The table of cases: every architecture, under every naming, in every container."""

import functools

import timm
import torch
import transformers as hf

from golden_cases import IMAGENET_MEAN, IMAGENET_STD, SIZE
from golden_models import (HF_NANO, HF_SHALLOW, SWIN, clip_outputs, container, crop,
                           dino_checkpoint, dino_crop, dinov2_pth, distilled_outputs, hf_folder,
                           hf_classifier_outputs, hf_outputs, labels, lightning_checkpoint, microsoft_swin, old_folder,
                           old_processor, pre_logits_pth, renamed, save_bin, siglip_outputs,
                           squash, swin_pth, timm_checkpoint, timm_folder, timm_pth,
                           torchvision_swin, torchvision_vit, training_checkpoint,
                           with_beit_indices, with_indices, with_position_ids, with_prefix)


def vit(**changes):
    return hf.ViTConfig(**(HF_NANO | changes), **labels(10))


def beit(**changes):
    settings = HF_NANO | dict(use_relative_position_bias=True) | changes
    return hf.BeitConfig(**settings, **labels(10))


def dino(config_class, native=40, **changes):
    settings = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=1,
                    image_size=native, patch_size=4)
    return config_class(**(settings | changes), **labels(7))


def clip_vision(**changes):
    return HF_NANO | dict(projection_dim=24) | changes


TEXT = dict(vocab_size=24, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
            num_attention_heads=1, max_position_embeddings=8, bos_token_id=0, eos_token_id=1,
            pad_token_id=1)


def hf_swin(**changes):
    return hf.SwinConfig(**(dict(image_size=SIZE, patch_size=4, embed_dim=16, depths=[2, 1],
                                 num_heads=[1, 2], window_size=4, mlp_ratio=2.0) | changes),
                         **labels(10))


def cases():
    """name -> function that makes the case."""
    table = {}

    def add(name, function, *arguments, **settings):
        table[name] = lambda: function(name, *arguments, **settings)

    bigger = (SIZE, 40)

    # ViT, DeiT
    add("timm_vit", timm_folder, "vit_tiny_patch16_224", "augreg: mean = std = 0.5, crop_pct 0.9",
        sizes=bigger)
    add("timm_vit_no_qkv_bias", timm_folder, "vit_tiny_patch16_224", "qkv_bias=False",
        qkv_bias=False, depth=1)
    add("timm_vit_fc_norm", timm_folder, "vit_tiny_patch16_224",
        "mean of the patches, `fc_norm` behind it, no `norm`", global_pool="avg",
        depth=1)
    add("timm_vit_no_head", timm_folder, "vit_tiny_patch16_224",
        "num_classes=0; small embeddings: eps 1e-6 matters",
        classes=0, depth=1, scale=1 / 128)
    add("timm_vit_pth", timm_pth, "vit_tiny_patch16_224", "a bare state_dict")
    add("timm_deit", timm_folder, "deit_tiny_patch16_224", "ImageNet mean and std, crop_pct 0.9",
        depth=1)
    add("deit_original_pth", timm_pth, "deit_tiny_patch16_224",
        "a training checkpoint: model, optimizer, argparse.Namespace", wrap=training_checkpoint,
        file="checkpoint.pth")
    table["timm_vit_pre_logits_pth"] = lambda: pre_logits_pth("timm_vit_pre_logits_pth")
    add("transformers_vit_classifier", hf_folder, hf.ViTForImageClassification, vit(),
        squash(hf.ViTImageProcessorPil), "squashed, bilinear; eps 1e-12", sizes=bigger)
    add("transformers_vit_no_qkv_bias", hf_folder, hf.ViTForImageClassification,
        vit(qkv_bias=False, layer_norm_eps=1e-6, num_hidden_layers=1),
        squash(hf.ViTImageProcessorPil, resample=3), "qkv_bias false, eps 1e-6, bicubic")
    add("transformers_vit_model", hf_folder, hf.ViTModel, vit(num_hidden_layers=1),
        squash(hf.ViTImageProcessorPil),
        "no head, no `vit.` in the names; a pooler (dense, tanh): `embedding_pooler`",
        outputs=functools.partial(hf_outputs, pooled="pooler"))
    add("transformers_deit_classifier", hf_folder, hf.DeiTForImageClassification,
        hf.DeiTConfig(**HF_SHALLOW, **labels(10)),
        hf.DeiTImageProcessorPil(size={"height": 36, "width": 36},
                                 crop_size={"height": SIZE, "width": SIZE}),
        "squashed to 36, then cropped; a distillation token that no head uses",
        outputs=functools.partial(hf_outputs, prefix=2))
    add("torchvision_vit", torchvision_vit, "class_token, conv_proj, in_proj_weight", sizes=bigger)
    add("torchvision_vit_representation", torchvision_vit, "`heads.pre_logits` and tanh; F16",
        representation=24, half_size=True)

    # distilled DeiT, DeiT-3
    add("timm_deit_distilled", timm_folder, "deit_tiny_distilled_patch16_224",
        "dist_token, head and head_dist averaged", depth=1, sizes=bigger)
    add("transformers_deit_distilled", hf_folder, hf.DeiTForImageClassificationWithTeacher,
        hf.DeiTConfig(**HF_SHALLOW, **labels(10)),
        hf.DeiTImageProcessorPil(size={"height": 36, "width": 36},
                                 crop_size={"height": SIZE, "width": SIZE}),
        "cls_classifier and distillation_classifier averaged",
        outputs=distilled_outputs)
    add("timm_deit3", timm_folder, "deit3_small_patch16_224",
        "LayerScale, positions without the class token", depth=1, init_values=0.5, sizes=bigger)
    add("deit3_original_pth", timm_pth, "deit3_small_patch16_224",
        "`blocks.0.gamma_1` for LayerScale, below `model`; F16", init_values=0.5,
        wrap=lambda state: {"model": state}, half_size=True,
        rename=renamed(("ls1.gamma", "gamma_1"), ("ls2.gamma", "gamma_2")))

    # DINOv2: positions for 40 pixels, run at 32
    add("timm_dinov2", timm_folder, "vit_small_patch14_dinov2", "LayerScale, positions for 40",
        classes=0, depth=1, img_size=40, crop=40, init_values=0.5, sizes=(SIZE, 40))
    add("timm_dinov2_reg4", timm_folder, "vit_small_patch14_reg4_dinov2",
        "4 registers, positions of patches only; a head", depth=1, img_size=40, crop=40,
        init_values=0.5, sizes=(SIZE, 40))
    add("transformers_dinov2_classifier", hf_folder, hf.Dinov2ForImageClassification,
        dino(hf.Dinov2Config), dino_crop(),
        "classifier on [class; mean of patches]; positions for 40, run at 32", sizes=(SIZE, 40))
    add("transformers_dinov2_model", hf_folder, hf.Dinov2Model,
        dino(hf.Dinov2Config, native=84, patch_size=14, num_hidden_layers=1, hidden_size=16,
             num_attention_heads=1),
        dino_crop(64, 56), "patch 14, positions for 84, run at 56",
        sizes=(56,), native=56)
    add("transformers_dinov2_reg4_classifier", hf_folder,
        hf.Dinov2WithRegistersForImageClassification,
        dino(hf.Dinov2WithRegistersConfig, num_hidden_layers=1), dino_crop(),
        "4 registers; positions interpolated with antialiasing", sizes=(SIZE, 40),
        outputs=functools.partial(hf_outputs, prefix=5))
    add("transformers_dinov2_reg1_model", hf_folder, hf.Dinov2WithRegistersModel,
        dino(hf.Dinov2WithRegistersConfig, num_register_tokens=1, num_hidden_layers=1), dino_crop(),
        "1 register", outputs=functools.partial(hf_outputs, prefix=2))
    add("dinov2_original_pth", dinov2_pth, False,
        "facebookresearch/dinov2's names; positions interpolated with its offset of 0.1; F16",
        native=40, sizes=(SIZE, 40))
    add("dinov2_original_reg4_pth", dinov2_pth, True,
        "`register_tokens`; positions interpolated with antialiasing; F16", native=40,
        sizes=(SIZE, 40))

    # CLIP
    add("transformers_clip", hf_folder, hf.CLIPModel,
        hf.CLIPConfig(text_config=TEXT, vision_config=clip_vision(num_hidden_layers=1),
                      projection_dim=24),
        crop(hf.CLIPImageProcessorPil, SIZE), "text and vision in one file; quick GELU",
        outputs=clip_outputs)
    add("transformers_clip_vision_projection", hf_folder, hf.CLIPVisionModelWithProjection,
        hf.CLIPVisionConfig(**clip_vision(hidden_act="gelu", num_hidden_layers=1)),
        crop(hf.CLIPImageProcessorPil, SIZE), "GELU, a projection", outputs=clip_outputs,
        sizes=bigger)
    add("transformers_clip_vision", hf_folder, hf.CLIPVisionModel,
        hf.CLIPVisionConfig(**clip_vision(num_hidden_layers=1)),
        crop(hf.CLIPImageProcessorPil, SIZE), "quick GELU, no projection", outputs=clip_outputs)
    add("timm_clip", timm_folder, "vit_base_patch16_clip_224",
        "`norm_pre`, GELU; the head is the projection", classes=12, depth=1)
    add("timm_clip_quickgelu", timm_folder, "vit_base_patch16_clip_quickgelu_224",
        "quick GELU and eps 1e-5, which matters; only the architecture's name says so",
        classes=12, depth=1, scale=1 / 128)

    # SigLIP
    add("transformers_siglip", hf_folder, hf.SiglipModel,
        hf.SiglipConfig(text_config=TEXT | dict(projection_size=32), vision_config=HF_SHALLOW),
        squash(hf.SiglipImageProcessorPil), "text and vision in one file",
        outputs=siglip_outputs)
    add("transformers_siglip_vision", hf_folder, hf.SiglipVisionModel,
        hf.SiglipVisionConfig(**HF_NANO), squash(hf.SiglipImageProcessorPil),
        "attention pooling", outputs=siglip_outputs, sizes=bigger)
    add("transformers_siglip_classifier", hf_folder, hf.SiglipForImageClassification,
        hf.SiglipConfig(vision_config=HF_SHALLOW, **labels(10)),
        squash(hf.SiglipImageProcessorPil),
        "the patches' mean in place of attention pooling", outputs=hf_classifier_outputs)
    add("timm_siglip", timm_folder, "vit_base_patch16_siglip_224",
        "global_pool map; no class token; GELU by erf", classes=0, depth=1, sizes=bigger)
    add("timm_siglip2", timm_folder, "vit_so400m_patch16_siglip_256",
        "tanh GELU, which only the architecture's name says", classes=0, depth=1)

    # BEiT
    add("timm_beit", timm_folder, "beit_base_patch16_224",
        "relative position bias, q_bias and v_bias, gamma_1, fc_norm", depth=1, sizes=bigger)
    add("timm_beitv2", timm_folder, "beitv2_base_patch16_224", "as BEiT, ImageNet mean and std",
        depth=1)
    add("transformers_beit_classifier", hf_folder, hf.BeitForImageClassification, beit(),
        squash(hf.BeitImageProcessorPil), "lambda_1, a norm in the pooler; eps 1e-12",
        sizes=bigger)
    add("transformers_beit_model", hf_folder, hf.BeitModel,
        beit(num_hidden_layers=1, use_relative_position_bias=False,
             use_shared_relative_position_bias=True, use_mask_token=True),
        squash(hf.BeitImageProcessorPil), "one relative position bias for all blocks; no head",
        outputs=functools.partial(hf_outputs, pooled="pooler"))

    # Swin
    add("timm_swin", timm_folder, "swin_tiny_patch4_window7_224",
        "downsample begins a stage; head.fc", shape=SWIN, sizes=(SIZE, 64))
    add("timm_swin_in22k", timm_folder, "swin_base_patch4_window7_224",
        "patch 2: windows are shifted in both stages; small embeddings: eps 1e-5 matters",
        shape=SWIN, patch_size=2, depths=(2, 2), scale=1 / 128)
    add("swin_original_pth", swin_pth,
        "Microsoft's names below `model`: downsample ends a stage, attn_mask and "
        "relative_position_index are saved", wrap=lambda state: {"model": state},
        rename=microsoft_swin)
    add("timm_swin_old_pth", swin_pth,
        "timm before 0.9: downsample ends a stage, `head.weight`", wrap=lambda state: state,
        rename=renamed(("layers.1.downsample", "layers.0.downsample"), ("head.fc", "head")))
    add("transformers_swin_classifier", hf_folder, hf.SwinForImageClassification, hf_swin(),
        squash(hf.ViTImageProcessorPil, resample=3, image_mean=list(IMAGENET_MEAN),
               image_std=list(IMAGENET_STD)), "query, key and value apart; eps 1e-5",
        outputs=functools.partial(hf_outputs, prefix=0))
    add("transformers_swin_model", hf_folder, hf.SwinModel, hf_swin(patch_size=2),
        squash(hf.ViTImageProcessorPil, resample=3), "no head; patch 2",
        outputs=functools.partial(hf_outputs, prefix=0))
    add("torchvision_swin", torchvision_swin, "features.1.0.attn.qkv, features.2.reduction")

    # transformers 4
    add("transformers_vit_old", old_folder, hf.ViTForImageClassification,
        vit(num_hidden_layers=1), lambda state: state, hf.ViTImageProcessorPil,
        old_processor("ViTFeatureExtractor", [0.5] * 3, [0.5] * 3),
        "`size` a number, no `resample`; small embeddings: eps 1e-12 matters; F16", hf_outputs,
        scale=1 / 128)
    add("transformers_deit_old", old_folder, hf.DeiTForImageClassification,
        hf.DeiTConfig(**HF_SHALLOW, **labels(10)), lambda state: state, hf.DeiTImageProcessorPil,
        old_processor("DeiTFeatureExtractor", size=36, do_center_crop=True, crop_size=SIZE,
                      resample=3), "`size` and `crop_size` numbers; F16",
        functools.partial(hf_outputs, prefix=2))
    add("transformers_clip_vision_old", old_folder, hf.CLIPVisionModel,
        hf.CLIPVisionConfig(**clip_vision(num_hidden_layers=1)), with_position_ids,
        hf.CLIPImageProcessorPil,
        old_processor("CLIPFeatureExtractor", timm.data.OPENAI_CLIP_MEAN,
                      timm.data.OPENAI_CLIP_STD, resample=3, do_center_crop=True, crop_size=SIZE),
        "`vision_model.` before all names, position_ids; `size` a number: the shorter side; "
        "small embeddings: eps 1e-5 matters; F16", clip_outputs, scale=1 / 128)
    add("transformers_siglip_vision_old", old_folder, hf.SiglipVisionModel,
        hf.SiglipVisionConfig(**HF_SHALLOW), with_prefix("vision_model."),
        hf.SiglipImageProcessorPil,
        dict(do_normalize=True, do_rescale=True, do_resize=True, image_mean=[0.5] * 3,
             image_processor_type="SiglipImageProcessor", image_std=[0.5] * 3,
             processor_class="SiglipProcessor", resample=3, rescale_factor=1 / 255,
             size=dict(height=SIZE, width=SIZE)),
        "`vision_model.` before all names; F16", siglip_outputs)
    add("transformers_beit_old", old_folder, hf.BeitForImageClassification,
        beit(num_hidden_layers=1, patch_size=8), with_beit_indices, hf.BeitImageProcessorPil,
        old_processor("BeitFeatureExtractor", [0.5] * 3, [0.5] * 3, resample=2,
                      do_center_crop=False, crop_size=SIZE),
        "relative_position_index is saved; F16", hf_outputs)
    add("transformers_swin_old", old_folder, hf.SwinForImageClassification, hf_swin(),
        with_indices, hf.ViTImageProcessorPil, old_processor("ViTFeatureExtractor", resample=3),
        "relative_position_index is saved; F16", functools.partial(hf_outputs, prefix=0))

    # Checkpoints of training scripts
    add("pth_lightning", timm_pth, "vit_tiny_patch16_224",
        "`state_dict` with `model.` before all names, strides; F16", wrap=lightning_checkpoint,
        half_size=True, file="last.ckpt")
    add("pth_dino_teacher", timm_pth, "vit_tiny_patch16_224",
        "`teacher` with `backbone.` before all names, beside `student`; F16", classes=0,
        wrap=dino_checkpoint, half_size=True, file="checkpoint.pth")
    add("pth_timm_ema", timm_pth, "vit_tiny_patch16_224",
        "`state_dict_ema` beside `state_dict`; F16", wrap=timm_checkpoint, half_size=True,
        file="model_best.pth.tar")

    # SwiGLU, rotary positions
    add("transformers_dinov2_swiglu", hf_folder, hf.Dinov2Model,
        dino(hf.Dinov2Config, use_swiglu_ffn=True, num_hidden_layers=1), dino_crop(),
        "SwiGLU: mlp.weights_in holds both branches")
    add("timm_dinov2_swiglu", timm_folder, "vit_giant_patch14_dinov2",
        "SwiGLUPacked", classes=0, init_values=0.5, depth=1, mlp_ratio=3)
    add("transformers_dinov3", hf_folder, hf.DINOv3ViTModel,
        hf.DINOv3ViTConfig(**HF_SHALLOW, num_register_tokens=4),
        squash(hf.ViTImageProcessorPil, image_mean=list(IMAGENET_MEAN),
               image_std=list(IMAGENET_STD)), "rotary positions, registers, no key bias",
        outputs=functools.partial(hf_outputs, prefix=5), sizes=bigger)
    add("timm_dinov3", timm_folder, "vit_small_patch16_dinov3",
        "rotary positions, registers, LayerScale", classes=0, depth=1, init_values=0.5)
    add("timm_eva02", timm_folder, "eva02_tiny_patch14_224",
        "rotary and absolute positions, SwiGLU", depth=1, ref_feat_shape=(8, 8))

    # Containers
    table |= {
        "container_sharded": lambda: container(
            "shards and model.safetensors.index.json", "sharded safetensors",
            lambda model, folder: model.save_pretrained(folder, max_shard_size="20KB")),
        "container_bin": lambda: container("pytorch_model.bin", "torch zip", save_bin),
        "container_bin_legacy": lambda: container(
            "pytorch_model.bin of torch before 1.6", "torch, not zip",
            functools.partial(save_bin, _use_new_zipfile_serialization=False)),
        "container_f16": lambda: container("F16", "safetensors folder", None, torch.float16),
        "container_bf16": lambda: container("BF16", "safetensors folder", None, torch.bfloat16),
        "container_f64": lambda: container("F64", "safetensors folder", None, torch.float64),
        "container_bin_bf16": lambda: container("BF16", "torch zip", save_bin, torch.bfloat16),
    }
    return table
